/* test_parsers.c - what comes from outside at boot. The tests are in parsers_*.c. */
#include "suite.h"

int main(void) { return suite_main("parsers", NULL, NULL); }
