#!/usr/bin/env python3
"""ways.py WAY: the template's allocator (tools/template/allocator/NAME.c) with a mistake that people make, as allocator_WAY.
test/grade/grade.py says which message each gets. `template` has none."""
import os, sys

TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tools", "template", "allocator", "NAME.c")
END = "struct allocator allocator_NAME"
REALLOC = """static void *NAME_realloc(struct allocator *a, void *p, size_t n)
{
	size_t old = NAME_size(a, p), i = 0;
%s}

"""
WITH_REALLOC = (".name = ", ".realloc = NAME_realloc, .name = ")
FREE = "\tinsert((struct head *)p - 1);\n"

# what stands there, and what is put in its place, once each
WAYS = {
    "template": (),
    "off_by_one": (("round_up(n + sizeof(struct head), HEAP_ALIGN)", "round_up(n + sizeof(struct head) - 1, HEAP_ALIGN)"),),
    "misaligned": (("return block + 1;", "return (char *)(block + 1) + 8;"), (FREE, "\tinsert((struct head *)((char *)p - 8) - 1);\n"),
                   ("return ((struct head *)p - 1)->size", "return ((struct head *)((char *)p - 8) - 1)->size - 8")),
    "align_ignored": (("round_up((size_t)(h + 1), align) - 1", "round_up((size_t)(h + 1), HEAP_ALIGN) - 1"),),
    "no_joining": (("if (h->next && end_of(h) == h->next)", "if (0 && end_of(h) == h->next)"),
                   ("if (before && end_of(before) == h)", "if (0 && before)"), ("end_of(h) >= h->next", "end_of(h) > h->next")),
    "joined_anyway": (("if (before && end_of(before) == h)", "if (before && end_of(before) + 2 >= h)"),),
    "unsorted": (("*link && *link < h;", "*link && *link > h;"),),
    "double_insert": ((FREE, "\tstatic unsigned n;\n" + FREE + "\tif (++n % 7 == 0)\n\t" + FREE),),
    "lost_block": ((FREE, "\tstatic unsigned n;\n\tif (++n % 3)\n\t" + FREE),),
    "rest_lost": (("*rest = (struct head){h->size - front - size, h->next};", "rest = h->next;"),),
    "head_overwritten": (("rest = (struct head *)((char *)block + size);", "rest = (struct head *)((char *)block + size) - 1;"),
                         ("*rest = (struct head){h->size - front - size,", "*rest = (struct head){h->size - front - size + 16,")),
    "endless": (("*link; link = &(*link)->next) {", "*link; link = (*link)->next ? &(*link)->next : &holes) {"),),
    "race": ((".name = ", ".threads = true, .name = "),),
    "realloc_no_copy": ((END, REALLOC % "\tvoid *q = n <= old + i ? p : NAME_alloc(a, n, HEAP_ALIGN);\n\tif (q && q != p)\n"
                         "\t\tNAME_free(a, p);\n\treturn q;\n" + END), WITH_REALLOC),
    "realloc_frees": ((END, REALLOC % "\tNAME_free(a, p);\n\tchar *q = NAME_alloc(a, n, HEAP_ALIGN);\n"
                       "\tfor (; q && i < old && i < n; i++)\n\t\tq[i] = ((char *)p)[i];\n\treturn q;\n" + END), WITH_REALLOC),
    "no_null": (("\tif (!h)\n\t\treturn NULL;\n", ""),),
    "never_returns": (("if (!h || (void *)end_of(h)", "if (1 || (void *)end_of(h)"),),
}


def source(way):
    text = open(TEMPLATE).read()
    for old, new in WAYS[way]:
        if text.count(old) != 1:
            sys.exit(f"ways.py: {way}: the template has {text.count(old)} times: {old}")
        text = text.replace(old, new)
    return text.replace("NAME", way)


if __name__ == "__main__":
    print(source(sys.argv[1]), end="")
