# By chance: a tick may have flushed.
CHANCE = {"no-flush": {4}}
MISTAKES = [
    ("no-flush", [("operate(op, FH_FLUSH_LOCAL, table, va, level, bits, va)", "operate(op, 0, table, va, level, bits, va)")], {5, 6}),
    ("offset-of-4-KiB", [("uint64_t size = level == 2 ? PLAN_LARGE : FH_PAGE;", "uint64_t size = FH_PAGE;")], {4}),
    ("trims-what-is-full", [("if (fh_count(frame_record(table)->link) > 0)", "if (!table)")], {7}),
    ("window-not-flushed", [("operate(FH_OP_UNLINK_FREE, FH_FLUSH_LOCAL, above, va", "operate(FH_OP_UNLINK_FREE, 0, above, va")], {7}),
    ("one-by-one", [("size_t count = 512 - first < (end - at) / FH_PAGE ? 512 - first : (end - at) / FH_PAGE;", "size_t count = 1;")], {8}),
]
