MISTAKES = [
    ("dirty-bit-lost", [("p->dirty |= (e & FH_D) != 0;", "p->dirty = (e & FH_D) != 0;")], {5, 6}),
    ("no-guard-page", [("va < a->lo + FH_PAGE || ", "")], {3}),
    ("first-in-first-out", [("if (e & FH_A) {", "if (e == 0) {")], {7}),
    ("copies-behind-the-end", [("a->bytes - offset < FH_PAGE ? a->bytes - offset : FH_PAGE", "FH_PAGE")], {4}),
    ("own-writes-make-dirty", [("\tspace_clean(f->space, va, 1); /*", "\t/*")], {6}),
]
