# By chance: with an old translation in the TLB the others may fail as well, or a tick has flushed it.
CHANCE = {"addresses-at-once": {8, 9}}
MISTAKES = [
    ("unlocks-before-it-queues", [("\tguard(q);\n\tenqueue(q, &w);\n\tunguard(q);\n\tmy_unlock(m);\n", "\tmy_unlock(m);\n\tguard(q);\n\tenqueue(q, &w);\n\tunguard(q);\n")], {3}, "1"),
    ("nothing-at-hand", [("if (c->n == CACHE_MOST)", "if (c->n > 0)"), ("shrink(c, CACHE_MOST / 2);", "shrink(c, 0);")], {6}, "1"),
    ("addresses-at-once", [("unused[oldest].left < frame_epoch();", "true;"),
                           ("unsigned i = (oldest + n_unused++) % PAGES;", "n_unused++;\n\tunsigned i = oldest = (oldest + PAGES - 1) % PAGES;")], {7}, "1"),
    ("flushes-all", [("\tsys_pt_set(fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_NONE, pages_table, index, 1), 0, 0);",
                      "\twhile (sys_pt_set(fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_ALL, pages_table, index, 1), 0, 0).rax == -FH_EAGAIN)\n\t\twait_quiet();")], {9}, "4"),
]
