#!/usr/bin/env python3
"""tools/abidoc.py ABI.H: print docs/abi.md, or with --errors the list of each call's errors for C. Calls, errors, operations and types come from the X-macro lists, each call's
text from a comment of the form

    /*
     * name(arguments) -> result
     *
     * Prose; lines indented by two or more are kept as they are.
     *
     *   EPERM   cause, which may go on
     *           in a line indented deeper
     */

Fails when lists and comments disagree: a call without a comment or the reverse, other argument names, an unknown error,
an argument count that is not the number of names."""
import re, sys

problems = []


def items(source, macro):
    """The X(...) entries of a list, each a list of its fields."""
    body = re.search(rf"#define {macro}\(X\)((?:.*\\\n)*.*)", source)[1]
    entries = re.findall(r"X\(((?:\"(?:[^\"\\]|\\.)*\"|[^)\"])*)\)", body)
    fields = re.compile(r"\s*\"((?:[^\"\\]|\\.)*)\"\s*|([^,]+)")
    return [[quoted or plain.strip() for quoted, plain in fields.findall(entry)] for entry in entries]


def comments(source):
    """(position, text) of each comment that begins a line, without its stars."""
    for match in re.finditer(r"^/\*(.*?)\*/", source, re.M | re.S):
        lines = [re.sub(r"^\s*\*? ?", "", line, count=1) if i else line.strip() for i, line in enumerate(match[1].split("\n"))]
        yield match.start(), "\n".join(line.rstrip() for line in lines).strip("\n")


def call_blocks(source):
    """name -> (arguments, result, rest of the comment)"""
    blocks = {}
    for _, text in comments(source):
        match = re.match(r"(\w+)\(([^)]*)\)\s*->\s*(.*?)(?:\n\n|$)(.*)", text, re.S)
        if match:
            name, arguments, result, rest = match.groups()
            if name in blocks:
                problems.append(f"{name}: two comments")
            blocks[name] = (arguments, " ".join(result.split()), rest)
    return blocks


def intro(source, macro):
    """The comment nearest before a list, headings and call comments aside."""
    where = source.index(f"#define {macro}(")
    plain = [t for at, t in comments(source) if at < where and not t.startswith("----") and not re.match(r"\w+\(.*\)\s*->", t)]
    return markdown(plain[-1])


def markdown(text):
    """Paragraphs as they are, indented ones as code."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        code = all(line.startswith("  ") for line in paragraph.split("\n"))
        out.append(f"```\n{paragraph}\n```" if code else paragraph)
    return "\n\n".join(out)


def split_errors(name, text, known):
    """Take the error lines out of a call's text: the rest, and [(error, cause)]."""
    errors, rest = [], []
    for line in text.split("\n"):
        match = re.match(r"\s+(E[A-Z0-9]{2,})\s+(.*)", line)
        if match:
            errors.append((match[1], match[2]))
        elif errors and re.match(r"\s{6,}\S", line):
            errors[-1] = (errors[-1][0], errors[-1][1] + " " + line.strip())
        else:
            rest.append(line)
    for error, _ in errors:
        if error not in known:
            problems.append(f"{name}: {error} is not in FH_ERRORS")
    return "\n".join(rest), errors


def table(head, rows):
    cell = lambda s: s.replace("|", "\\|")
    lines = [head, ["---"] * len(head)] + [[cell(c) for c in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def call_section(call, block, known):
    number, name, count, names = call
    arguments, result, text = block
    if arguments != names:
        problems.append(f"{name}: the list says ({names}), the comment ({arguments})")
    if int(count) != len([n for n in names.split(",") if n.strip()]):
        problems.append(f"{name}: {count} arguments, but the names are ({names})")
    text, errors = split_errors(name, text, known)
    section = [f"### {name}", f"`{name}({arguments})` → {result} (call {number})", markdown(text)]
    if errors:
        section.append(table(["error", "cause"], errors))
    return "\n\n".join(s for s in section if s)


def error_list(source):
    """FH_CALL_ERRORS(X): X(call, error) for each error that a call's comment lists, by itself or in "EPERM, EBUSY  as there"."""
    pairs = []
    for name, (_, _, text) in call_blocks(source).items():
        for line in re.findall(r"^\s+((?:E[A-Z0-9]{2,}, )*E[A-Z0-9]{2,})\s{2,}\S", text, re.M):
            pairs += [f"X({name}, {error})" for error in line.split(", ")]
    return " \\\n\t".join(["#define FH_CALL_ERRORS(X)"] + pairs)


def main():
    source = open(sys.argv[1]).read()
    if "--errors" in sys.argv:
        print(error_list(source))
        return
    calls, blocks = items(source, "FH_SYSCALLS"), call_blocks(source)
    errors = items(source, "FH_ERRORS")
    names = [call[1] for call in calls]
    problems.extend(f"{n}: no comment '{n}(...) -> ...'" for n in names if n not in blocks)
    problems.extend(f"{n}: a comment, but not in FH_SYSCALLS" for n in blocks if n not in names)
    sections = [
        "# The kernel's interface",
        f"Made from {sys.argv[1]} by `make docs`: change that, not this. Layouts of frames that user code reads are there.",
        "## System calls", intro(source, "FH_SYSCALLS"),
        table(["number", "call", "arguments"], [[c[0], f"[{c[1]}](#{c[1]})", c[3]] for c in calls])]
    known = [e[0] for e in errors]
    sections += [call_section(c, blocks[c[1]], known) for c in calls if c[1] in blocks]
    sections += ["## Errors", intro(source, "FH_ERRORS"), table(["error", "number", "meaning"], errors)]
    sections += ["## Page-table operations", intro(source, "FH_OPS"), table(["operation", "number", "does"], items(source, "FH_OPS"))]
    sections += ["## Types of frames", intro(source, "FH_TYPES"), table(["type", "number", "is"], items(source, "FH_TYPES"))]
    if problems:
        sys.exit("\n".join(f"{sys.argv[1]}: {p}" for p in problems))
    print("\n\n".join(sections))


main()
