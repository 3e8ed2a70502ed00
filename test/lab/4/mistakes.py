MISTAKES = [
    ("looks-forward-only", [("if (!(tail_before(block) & USED)) {", "if (block == first && !(tail_before(block) & USED)) {"),
                            ("if (!used(b) && free_before)\n\t\t\treturn 1;", "if (!used(b) && free_before)\n\t\t\tcontinue;"),
                            ("size_t tail = tail_before(last) & USED ? 0 : tail_before(last);", "size_t tail = 0;")], {3}),
    ("alignment-ignored", [("fits(b, want, align);", "fits(b, want, 16);")], {2}),
    ("moves-at-each-realloc", [("length(b) < want && !used(next(b)) &&", "length(b) > 1ul << 50 &&")], {4}),
    ("check-sees-nothing", [("|| tail_before(next(b)) != *head(b))", ")"),
                            ("length(b) < LEAST || length(b) % 16 || length(b) > (size_t)(last - b)", "length(b) == 0")], {6}),
    ("never-cuts", [("if (rest >= LEAST) {", "if (rest == 1) {")], {7, 8}),
]
