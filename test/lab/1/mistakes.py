MISTAKES = [
    ("does-not-wrap", [("p = search(f->lo, f->hi, n, align);", "p = search(f->lo, f->cursor, n, align);")], {6}),
    ("aligns-only-the-first", [("p = (p + i + 1 + align - 1) & ~(align - 1);", "p = p + i + 1;")], {4}),
    ("keeps-a-part", [("my_put(p, done);", "(void)p;")], {9, 10}),
    ("cursor-stays", [("f->cursor = p + n;", "f->cursor = p;")], {5}),
    ("one-call-claims-all", [("done += (size_t)r;", "done = n;")], {8, 9, 10}),
]
