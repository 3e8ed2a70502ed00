/* physical.c - boot_read for the parsers. */
#include "physical.h"
#include "multiboot.h"

uint8_t physical[1 << 20];
uint64_t physical_end;

bool boot_read(uint64_t at, void *to, uint64_t n)
{
	if (at > physical_end || n > physical_end - at)
		return false;
	memset(to, 0, n);
	if (at < sizeof physical)
		memcpy(to, physical + at, MIN(n, sizeof physical - at));
	return true;
}
