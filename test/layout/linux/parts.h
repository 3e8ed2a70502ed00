/* parts.h - between the files of this test: one function for each line. */
#pragma once

#include "lines.h"
#include "linux.h"

#define RW (RIGHT_R | RIGHT_W)

void order(void), places(void), stack_image(void);    /* exec.c */
void last_page(void);                                 /* exec.c, for ends */
void meeting(void), ends(void), fixed_address(void);  /* memory.c */
void stack_growth(void);                              /* growth.c */
void overcommit(void);                                /* promises.c */
