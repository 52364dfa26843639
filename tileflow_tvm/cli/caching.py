"""`tileflow cache`: the programs that were compiled before."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tileflow_tvm.cli.options import add_command, add_json
from tileflow_tvm.cli.tables import in_bytes, print_json, print_table

if TYPE_CHECKING:
    from tileflow_tvm.cli.options import Commands


def add_commands(commands: Commands) -> None:
    cache = add_command(
        commands, "cache", use_cache, does="show or clear the cache of compiled programs",
        details="TILEFLOW_CACHE=0 turns it off, TILEFLOW_CACHE_DIR names another folder, "
                "TILEFLOW_CACHE_BYTES another size.",
        example="tileflow cache clear",
    )  # fmt: skip
    cache.add_argument("action", choices=("show", "clear"), nargs="?", default="show",
                       help="what to do (default: show)")  # fmt: skip
    add_json(cache)


def use_cache(args: argparse.Namespace) -> None:
    from tileflow_tvm.cache import store

    programs = store.Store.of_user()
    removed = programs.clear() if args.action == "clear" else None
    entries, held = len(programs.entries()), programs.nbytes()
    if args.json:
        shown = {"folder": str(programs.folder), "on": store.is_on(), "entries": entries,
                 "bytes": held, "limit": programs.limit}  # fmt: skip
        print_json(shown if removed is None else {**shown, "removed": removed})
    elif removed is not None:
        if not args.quiet:
            print(f"{removed} programs removed from {programs.folder}")
    else:
        rows = [
            ("folder", str(programs.folder)),
            ("entries", str(entries)),
            ("size", f"{in_bytes(held)} of {in_bytes(programs.limit)}"),
        ]
        print_table(("cache", "on" if store.is_on() else "off"), rows)
