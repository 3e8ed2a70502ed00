MISTAKES = [
    ("shows-it-writable", [("(va_t)va, SHOWN_PAGES, RIGHT_R)", "(va_t)va, SHOWN_PAGES, RIGHT_R | RIGHT_W)")], {3}),
    ("does-not-answer-the-fault", [("return space_fill(f->space, page_down(f->address), 1, RIGHT_R | RIGHT_W) < 0 ? FAULT_KILL : FAULT_DONE;",
                                    "return f ? FAULT_KILL : FAULT_DONE;")], {6}),
    ("yields-for-each-message", [("\tif (sent == r->count)\n\t\treturn 0;", "\tthread_yield();\n\tif (sent == r->count)\n\t\treturn 0;")], {4}),
    ("trusts-the-length", [("if (n == 0 || n > RING_MESSAGE)\n\t\treturn -FH_ECANCELED;\n\tmemcpy", "memcpy"),
                           ("if (r->gone || sent - r->count > SLOTS)", "if (r->gone)")], {7}),
    ("page-lost-when-full", [("if (sent <= 0)", "if (sent < 0)")], {5}),
]
