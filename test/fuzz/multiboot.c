/* multiboot.c - multiboot_parse on any tables of a boot loader; what it takes is compared with the tables, read again here. */
#include "memory.h"
#include "layout.h"
#include "multiboot.h"

static uint32_t word(uint64_t at)
{
	uint32_t w = 0;
	boot_read(at, &w, 4);
	return w;
}

static uint64_t quad(uint64_t at) { return word(at) | (uint64_t)word(at + 4) << 32; }

/* The map's entries, which the parser has accepted: `found` is called with each. */
static void each_region(uint32_t info, void (*found)(uint64_t start, uint64_t end, uint32_t type))
{
	uint64_t at = word(info + 48), end = at + word(info + 44);
	for (; at + 24 <= end; at += word(at) + 4ul) {
		uint64_t start = quad(at + 4), length = quad(at + 12);
		found(start, start + length < start ? -1ul : start + length, word(at + 20));
	}
}

static struct boot_info got;
static uint64_t reach; /* how far RAM goes on, region after region */
static bool farther;

static void no_ram_here(uint64_t start, uint64_t end, uint32_t type)
{
	for (unsigned i = 0; i < got.nram; i++)
		if (type != 1 && start < end && start < got.ram[i].end && got.ram[i].start < end)
			fuzz_fail("%lx-%lx, type %u, is taken for RAM", start, end, type);
}

static void reach_farther(uint64_t start, uint64_t end, uint32_t type)
{
	if (type == 1 && start <= reach && reach < end) {
		reach = end;
		farther = true;
	}
}

static void check_ram(uint32_t info)
{
	each_region(info, no_ram_here);
	for (unsigned i = 0; i < got.nram; i++) {
		reach = got.ram[i].start;
		do {
			farther = false;
			each_region(info, reach_farther);
		} while (farther && reach < got.ram[i].end);
		if (reach < got.ram[i].end)
			fuzz_fail("%lx is taken for RAM, which the map doesn't say", reach);
	}
}

void fuzz_one(const uint8_t *bytes, size_t n)
{
	struct input in = {bytes, n};
	uint32_t info = take_bytes(&in, 4);
	memory_from(&in, NULL);
	memset(&got, 0, sizeof got);
	const char *wrong = multiboot_parse(0x2badb002, info, &got);
	FUZZ_CHECK(got.nram <= MAX_RAM && got.nmodules <= FH_MAX_MODULES);
	FUZZ_CHECK(memchr(got.command, 0, sizeof got.command));
	for (unsigned i = 0; i < got.nram; i++) {
		const struct range *r = &got.ram[i];
		FUZZ_CHECK(r->start % PAGE == 0 && r->end % PAGE == 0 && r->start < r->end && r->end <= DIRECT_SIZE);
		FUZZ_CHECK(i == 0 || got.ram[i - 1].end < r->start);
	}
	for (unsigned i = 0; i < got.nmodules; i++) {
		const struct boot_module *m = &got.module[i];
		FUZZ_CHECK(m->where.start >= LOW_MEMORY && m->where.start % PAGE == 0 && in_ram(&got, m->where));
		FUZZ_CHECK(m->bytes && m->bytes <= m->where.end - m->where.start && m->where.end - m->where.start < m->bytes + PAGE);
		FUZZ_CHECK(memchr(m->command, 0, sizeof m->command));
		for (unsigned k = 0; k < i; k++)
			FUZZ_CHECK(!overlaps(m->where, got.module[k].where));
	}
	if (wrong)
		return;
	FUZZ_CHECK(got.nram && got.nmodules == word(info + 20));
	if (word(info) & 1 << 6)
		check_ram(info);
}
