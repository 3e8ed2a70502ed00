"""The numbers of the C headers, read from the headers: constants, enumerators of X-macro lists, and the functions of one
line that take words apart (fh_type, fh_owner, ...). So nothing here says a second time what abi.h says once. Structs
come from the kernel's debug information instead (machine.py)."""
import os, re, types

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
WORD = (1 << 64) - 1


def python(expression):
    """A C expression of numbers, shifts and masks as a Python one; None if it is anything else."""
    expression = re.sub(r"\((?:uint64_t|unsigned|pte_t)\)", "", expression)
    expression = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]*\b", r"\1", expression)
    return None if re.search(r'[?"\'={};]|->|&&|\|\||sizeof', expression) else expression


def read(path, names):
    """Add to `names` what the header defines. A definition that isn't a number, or needs a name not seen, is left out."""
    source = re.sub(r"/\*.*?\*/|//[^\n]*", "", open(os.path.join(TOP, path)).read(), flags=re.S).replace("\\\n", " ")
    for name, body in re.findall(r"^#define (\w+)[ \t]+(\S.*)$", source, re.M):
        evaluate(name, body, names)
    for name, body in re.findall(r"^#define (\w+)\(X\)(.*)$", source, re.M):  # FH_TYPES: {"KERNEL": 0, "FREE": 1, ...}
        names[name] = {item: int(number) for item, number in re.findall(r"X\((\w+), (\d+),", body)}
    for name, body in re.findall(r"^enum (\w+) \{ ([\w, ]+) \};$", source, re.M):
        names[name] = body.replace(" ", "").split(",")
    for name, arguments, body in re.findall(r"^static inline \w+ (\w+)\(([^)]*)\) \{ return (.*); \}$", source, re.M):
        if python(body):
            arguments = ", ".join(a.split()[-1] for a in arguments.split(","))
            names[name] = eval(f"lambda {arguments}: ({python(body)}) & {WORD}", names)


def evaluate(name, body, names):
    try:
        names[name] = eval(python(body) or "None", names) & WORD
    except (NameError, SyntaxError, TypeError):
        pass


_names = {}
for _path in ("src/kern/abi.h", "src/kern/layout.h", "src/libos/plan.h", "src/libos/space.h",
              "src/libos/layout.h"):
    read(_path, _names)
abi = types.SimpleNamespace(**_names)
