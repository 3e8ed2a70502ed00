#include "oracle.h"
void test_states(void) {}
