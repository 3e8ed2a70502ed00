/* list.h - all layouts, one line each: layout.h and layout.c include this. */
X(freehold)
X(higher_half)
X(linux)
X(flat)
X(course_os)
X(anke)
X(resea)
X(generations)
