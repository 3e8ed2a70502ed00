/* acpi.c - topology_find on any memory: ACPI's tables and the MP table. */
#include "memory.h"
#include "topology.h"

static void mend(struct piece *p, uint64_t n, unsigned checksum)
{
	uint8_t sum = 0;
	p->bytes[checksum] = 0;
	for (uint64_t i = 0; i < n && i < p->n; i++)
		sum += p->bytes[i];
	p->bytes[checksum] = -sum;
}

static void seal(struct piece *p)
{
	uint32_t length;
	memset(p->bytes + p->n, 0, sizeof p->bytes - p->n);
	memcpy(&length, p->bytes + 4, 4);
	if (memcmp(p->bytes, "RSD PTR ", 8) == 0) {
		mend(p, 20, 8);
		memcpy(&length, p->bytes + 20, 4);
		mend(p, length, 32);
	} else if (memcmp(p->bytes, "_MP_", 4) == 0)
		mend(p, 16, 10);
	else if (memcmp(p->bytes, "PCMP", 4) == 0)
		mend(p, length & 0xffff, 7);
	else
		mend(p, length, 9);
}

void fuzz_one(const uint8_t *bytes, size_t n)
{
	struct input in = {bytes, n};
	struct topology found;
	bool seen[256] = {false};
	memory_from(&in, seal);
	memset(&found, 0x55, sizeof found);
	topology_find(&found);
	FUZZ_CHECK(found.ncpus <= FH_MAX_CPUS && (found.source != NULL) == (found.ncpus != 0));
	FUZZ_CHECK(found.source || (found.lapic == 0 && found.beyond == 0));
	for (unsigned i = 0; i < found.ncpus; i++) {
		FUZZ_CHECK(found.apic_id[i] < 255 && !seen[found.apic_id[i]]);
		seen[found.apic_id[i]] = true;
	}
}
