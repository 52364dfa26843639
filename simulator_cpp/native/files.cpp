#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "errors.h"
#include "interrupt.h"

namespace tileflow {
namespace {

namespace fs = std::filesystem;

// Ctrl-C is looked for between pieces.
constexpr std::size_t kPiece = std::size_t{1} << 24;

[[noreturn]] void fail_to_read(const std::string& path) {
  const int error = errno;
  throw InputError("cannot read " + path + ": " + std::strerror(error),
                   error == EACCES
                       ? "its permissions do not let you"
                       : "check the path; it is looked up from " + fs::current_path().string());
}

[[noreturn]] void fail_to_write(const std::string& path) {
  throw InputError("cannot write " + path + ": " + std::strerror(errno),
                   "name another file, or make room");
}

// An open file; closed at the end of its life.
class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ > STDERR_FILENO) ::close(descriptor_);
  }
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

// Calls read or write until it is not a signal that ends the call.
template <class Call>
ssize_t retry(Call call) {
  ssize_t moved = 0;
  do {
    check_interrupt();
    moved = call();
  } while (moved < 0 && errno == EINTR);
  return moved;
}

int open_to_read(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) fail_to_read(path);
  if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode)) {
    throw InputError(path + (S_ISDIR(status.st_mode) ? " is a directory" : " is no regular file"),
                     "a file is needed here");
  }
  const auto descriptor = retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); });
  if (descriptor < 0) fail_to_read(path);
  return static_cast<int>(descriptor);
}

void write_all(const File& file, const std::string& path, std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const std::size_t piece = std::min(bytes.size(), kPiece);
    const ssize_t moved = retry([&] { return ::write(file.descriptor(), bytes.data(), piece); });
    if (moved < 0) fail_to_write(path);
    bytes = bytes.subspan(static_cast<std::size_t>(moved));
  }
}

// A file beside its later place; gone unless it gets there.
class Aside {
 public:
  explicit Aside(const fs::path& target, const std::string& shown)
      : name_(target.parent_path() / ("." + target.filename().string() + ".XXXXXX")),
        file_(::mkstemp(name_.data())) {
    if (file_.descriptor() < 0) fail_to_write(shown);
    const mode_t mask = ::umask(0);
    ::umask(mask);
    if (::fchmod(file_.descriptor(), 0666 & ~mask) != 0) fail_to_write(shown);
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  ~Aside() {
    if (!placed_) ::unlink(name_.c_str());
  }
  const File& file() const { return file_; }
  void place(const fs::path& target, const std::string& shown) {
    if (::rename(name_.c_str(), target.c_str()) != 0) fail_to_write(shown);
    placed_ = true;
  }

 private:
  std::string name_;
  File file_;
  bool placed_ = false;
};

fs::path resolved(const std::string& path) {
  std::error_code ignored;
  return fs::weakly_canonical(fs::absolute(path, ignored), ignored);
}

bool is_special(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) && !fs::is_regular_file(path, ignored);
}

void check_folder(const std::string& path) {
  std::error_code ignored;
  fs::path folder = fs::path(path).parent_path();
  if (folder.empty()) folder = ".";
  if (!fs::is_directory(folder, ignored)) {
    throw InputError("cannot write " + path + ": " + folder.string() +
                         (fs::exists(folder, ignored) ? " is no directory" : " does not exist"),
                     "make the folder first");
  }
  if (fs::is_directory(path, ignored)) {
    throw InputError("cannot write " + path + ": it is a directory", "name the file in it as well");
  }
  if (!is_special(path) && ::access(folder.c_str(), W_OK | X_OK) != 0) {
    throw InputError("cannot write " + path + ": no permission to write in " + folder.string(),
                     "name a file in a folder of your own");
  }
}

}  // namespace

std::vector<std::uint8_t> read_file(const std::string& path) {
  const File file(path == kStandard ? STDIN_FILENO : open_to_read(path));
  std::vector<std::uint8_t> bytes;
  struct stat status = {};
  if (::fstat(file.descriptor(), &status) == 0 && S_ISREG(status.st_mode)) {
    bytes.reserve(static_cast<std::size_t>(status.st_size) + 1);
  }
  while (true) {
    const std::size_t size = bytes.size();
    bytes.resize(size + std::min(kPiece, std::max<std::size_t>(bytes.capacity() - size, 1 << 16)));
    const ssize_t moved =
        retry([&] { return ::read(file.descriptor(), bytes.data() + size, bytes.size() - size); });
    if (moved < 0) fail_to_read(path);
    bytes.resize(size + static_cast<std::size_t>(moved));
    if (moved == 0) return bytes;
  }
}

void check_outputs(const std::vector<std::string>& outputs, const std::string& input) {
  std::map<fs::path, std::string> seen;
  if (input != kStandard) seen[resolved(input)] = input;
  for (const std::string& path : outputs) {
    if (path == kStandard) continue;
    check_folder(path);
    const auto [same, is_new] = seen.emplace(resolved(path), path);
    if (!is_new && !is_special(path)) {
      throw InputError(path + " would overwrite " + same->second, "give it a name of its own");
    }
  }
}

void write_file(const std::string& path, const std::vector<std::span<const std::uint8_t>>& parts) {
  const auto write_parts = [&](const File& file) {
    for (const auto& part : parts) write_all(file, path, part);
  };
  if (path == kStandard) return write_parts(File(STDOUT_FILENO));
  if (is_special(path)) {
    const File file(
        static_cast<int>(retry([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); })));
    if (file.descriptor() < 0) fail_to_write(path);
    return write_parts(file);
  }
  // A link stays a link: what it points at is replaced.
  const fs::path target = resolved(path);
  Aside aside(target, path);
  write_parts(aside.file());
  aside.place(target, path);
}

}  // namespace tileflow
