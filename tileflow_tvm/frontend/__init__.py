"""The border with TVM: the language, and PrimFunc to `Program` and back."""
