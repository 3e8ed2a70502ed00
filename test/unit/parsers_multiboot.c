/* parsers_multiboot.c - multiboot_parse on good, truncated and made-up tables. */
#include "physical.h"
#include "layout.h"
#include "multiboot.h"

#define MAGIC 0x2badb002u
#define MB (1ul << 20)
#define GB (1ul << 30)
#define RAM 1u
#define FIRMWARE 2u

#define TABLES 0x9000u
#define INFO TABLES
#define MAP (TABLES + 0x1000u)
#define MODULES (TABLES + 0x7000u)
#define STRINGS (TABLES + 0x7800u)
#define SIZE 0x8000u
static uint8_t *const memory = physical + TABLES;
static uint32_t map_end, modules;
static struct boot_info info;

static void put(uint32_t at, uint64_t value, unsigned bytes)
{
	assert_true(at >= TABLES && at + bytes <= TABLES + SIZE);
	memcpy(memory + at - TABLES, &value, bytes);
}

static void region(uint64_t base, uint64_t length, unsigned type)
{
	put(map_end, 20, 4);
	put(map_end + 4, base, 8);
	put(map_end + 12, length, 8);
	put(map_end + 20, type, 4);
	map_end += 24;
	put(INFO + 44, map_end - MAP, 4);
}

static void module(uint32_t start, uint32_t end)
{
	put(MODULES + modules * 16, start, 4);
	put(MODULES + modules * 16 + 4, end, 4);
	put(MODULES + modules * 16 + 8, STRINGS + 32, 4);
	put(INFO + 20, ++modules, 4);
}

static void empty(void)
{
	memset(memory, 0, SIZE);
	physical_end = 4 * GB;
	map_end = MAP;
	modules = 0;
	put(INFO, 1 | 1 << 2 | 1 << 3 | 1 << 6, 4);
	put(INFO + 16, STRINGS, 4);
	put(INFO + 24, MODULES, 4);
	put(INFO + 48, MAP, 4);
	strcpy((char *)memory + STRINGS - TABLES, "freehold debug");
	strcpy((char *)memory + STRINGS - TABLES + 32, "root.elf one two");
}

static const char *parse(void)
{
	memset(&info, 0, sizeof info);
	return multiboot_parse(MAGIC, INFO, &info);
}

/* What holds whether or not the tables were taken. */
static void check_promises(void)
{
	assert_in_range(info.nram, 0, MAX_RAM);
	assert_in_range(info.nmodules, 0, FH_MAX_MODULES);
	for (unsigned i = 0; i < info.nram; i++) {
		assert_true(info.ram[i].start % PAGE == 0 && info.ram[i].end % PAGE == 0);
		assert_true(info.ram[i].start < info.ram[i].end && info.ram[i].end <= DIRECT_SIZE);
		assert_true(i == 0 || info.ram[i - 1].end < info.ram[i].start);
	}
	for (unsigned i = 0; i < info.nmodules; i++) {
		const struct boot_module *m = &info.module[i];
		assert_true(m->where.start < m->where.end && m->where.start >= LOW_MEMORY && m->where.start % PAGE == 0);
		assert_true(m->bytes && m->bytes <= m->where.end - m->where.start);
		assert_non_null(memchr(m->command, 0, sizeof m->command));
	}
	assert_non_null(memchr(info.command, 0, sizeof info.command));
}

static void expect_ram(unsigned n, const struct range *want)
{
	check_promises();
	assert_int_equal(info.nram, n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(info.ram[i].start, want[i].start);
		assert_int_equal(info.ram[i].end, want[i].end);
	}
}
#define EXPECT_RAM(...) expect_ram(LENGTH(((struct range[]){__VA_ARGS__})), (struct range[]){__VA_ARGS__})
#define REFUSED(words) do { const char *w = parse(); check_promises();                                                 \
		if (!w || !strstr(w, words)) suite_fail(__FILE__, __LINE__, "%s, not %s", w ? w : "accepted", words);  \
	} while (0)

TEST("QEMU's machine of 128 MiB is taken: RAM, command line, module")
{
	empty();
	region(0, 0x9fc00, RAM);
	region(0x9fc00, 0x400, FIRMWARE);
	region(0xf0000, 0x10000, FIRMWARE);
	region(MB, 0x7ee0000, RAM);
	region(0x7fe0000, 0x20000, FIRMWARE);
	region(0xfffc0000, 0x40000, FIRMWARE);
	module(0x200000, 0x234567);
	assert_null(parse());
	EXPECT_RAM({0, 0x9f000}, {MB, 0x7fe0000});
	assert_string_equal(info.command, "freehold debug");
	assert_int_equal(info.nmodules, 1);
	assert_int_equal(info.module[0].bytes, 0x34567);
	assert_int_equal(info.module[0].where.end, 0x235000);
	assert_string_equal(info.module[0].command, "root.elf one two");
}

TEST("RAM in any order, touching, overlapping and repeated is merged; a hole stays a hole, above 4 GiB too")
{
	empty();
	region(5 * GB, GB, RAM);
	region(16 * MB, 16 * MB, RAM);
	region(MB, 15 * MB, RAM);
	region(6 * GB, MB, RAM);
	region(24 * MB, 40 * MB, RAM);
	region(24 * MB, 40 * MB, RAM);
	region(128 * MB, MB, RAM);
	region(100 * MB, MB, RAM);
	module(2 * MB, 3 * MB);
	assert_null(parse());
	EXPECT_RAM({MB, 64 * MB}, {100 * MB, 101 * MB}, {128 * MB, 129 * MB}, {5 * GB, 6 * GB + MB});
	empty();
	for (unsigned i = 0; i < 20; i++)
		region(MB * (2 * i + 1), MB, RAM);
	region(0, 40 * MB, RAM); /* one over all of them */
	module(2 * MB, 3 * MB);
	assert_null(parse());
	EXPECT_RAM({0, 40 * MB});
}

TEST("RAM that isn't page-aligned is rounded inward, what firmware keeps outward")
{
	empty();
	region(MB + 1, 16 * MB, RAM);
	region(8 * MB + 0xfff, 2, FIRMWARE);
	region(32 * MB + 1, PAGE, RAM); /* not one whole page */
	module(2 * MB, 3 * MB);
	assert_null(parse());
	EXPECT_RAM({MB + PAGE, 8 * MB}, {8 * MB + 2 * PAGE, 17 * MB});
}

TEST("what firmware keeps is cut out of RAM, wherever it stands in the map")
{
	empty();
	region(0, 4 * MB, FIRMWARE); /* before the RAM it cuts */
	region(MB, 99 * MB, RAM);
	region(200 * MB, 10 * MB, RAM);
	region(300 * MB, 10 * MB, RAM);
	region(98 * MB, 104 * MB, FIRMWARE); /* the end of one and the start of the next */
	region(50 * MB, MB, 3);
	region(60 * MB, MB, 0xffffffff);
	region(300 * MB, 10 * MB, 4); /* all of one */
	module(5 * MB, 6 * MB);
	assert_null(parse());
	EXPECT_RAM({4 * MB, 50 * MB}, {51 * MB, 60 * MB}, {61 * MB, 98 * MB}, {202 * MB, 210 * MB});
}

TEST("RAM above 448 GiB is left alone and counted")
{
	empty();
	region(MB, 512 * GB, RAM);
	region(600 * GB, GB, RAM);
	module(5 * MB, 6 * MB);
	assert_null(parse());
	EXPECT_RAM({MB, DIRECT_SIZE});
	assert_int_equal(info.beyond, 64 * GB + MB + GB);
}

TEST("64 pieces of RAM are taken, 65 refused; pieces that cutting would add are left out")
{
	empty();
	for (unsigned i = 0; i < 64; i++)
		region(MB * (2 * i + 1), MB, RAM);
	module(MB, MB + 1);
	assert_null(parse());
	assert_int_equal(info.nram, 64);
	region(MB * 129, MB, RAM);
	REFUSED("too many pieces");
	map_end -= 24;
	for (unsigned i = 0; i < 64; i++)
		region(MB * (2 * i + 1) + 64 * PAGE, PAGE, FIRMWARE);
	parse();
	check_promises();
	for (unsigned i = 0; i < info.nram; i++)
		for (unsigned k = 0; k < 64; k++) {
			uint64_t cut = MB * (2 * k + 1) + 64 * PAGE;
			assert_false(info.ram[i].start <= cut && cut < info.ram[i].end);
		}
}

TEST("a memory map of more than 1024 entries is refused: what is reserved at its end would be taken for RAM")
{
	empty();
	region(MB, 64 * MB, RAM);
	for (unsigned i = 1; i < 1024; i++)
		region(GB, MB, FIRMWARE);
	region(2 * MB, MB, FIRMWARE);
	put(INFO + 20, 0, 4);
	REFUSED("too many entries");
	put(INFO + 44, 1024 * 24, 4);
	REFUSED("no module");
}

TEST("a region of RAM that reaches the end of the address space is not taken for all of memory")
{
	empty();
	region(16 * MB, 16 * MB, RAM);
	region(-0x7fful, 0x100, RAM);
	module(17 * MB, 18 * MB);
	assert_null(parse());
	EXPECT_RAM({16 * MB, 32 * MB});
}

TEST("what firmware keeps up to the end of the address space is cut out")
{
	empty();
	region(16 * MB, 64 * MB, RAM);
	region(32 * MB, -(32 * MB) - 1, FIRMWARE);
	module(17 * MB, 18 * MB);
	assert_null(parse());
	EXPECT_RAM({16 * MB, 32 * MB});
	map_end -= 24;
	region(32 * MB, -(32 * MB), FIRMWARE);
	assert_null(parse());
	EXPECT_RAM({16 * MB, 32 * MB});
}

TEST("a memory map whose entries are too short, or end nowhere, is refused or ends")
{
	for (unsigned size = 0; size < 20; size++) {
		empty();
		region(MB, 99 * MB, RAM);
		put(MAP, size, 4);
		REFUSED("memory map is malformed");
	}
	empty();
	region(MB, 99 * MB, RAM);
	module(2 * MB, 3 * MB);
	put(MAP, 0xffffffff, 4); /* the next entry is beyond the end */
	assert_null(parse());
	put(MAP, 0xffff6000, 4); /* the next entry is beyond what can be read */
	put(INFO + 44, 0xffffffff, 4);
	REFUSED("memory map is malformed");
	put(INFO + 48, 0xfffffff0, 4);
	REFUSED("");
	put(MAP, 20, 4);
	put(INFO + 48, MAP, 4);
	put(INFO + 44, 23, 4);
	REFUSED("shows no RAM");
}

TEST("entries longer than 20 bytes are stepped over by their size")
{
	empty();
	region(MB, 9 * MB, RAM);
	put(MAP, 44, 4);
	map_end += 24;
	region(50 * MB, MB, RAM);
	module(2 * MB, 3 * MB);
	assert_null(parse());
	EXPECT_RAM({MB, 10 * MB}, {50 * MB, 51 * MB});
}

TEST("no memory, no map, no loader: each is refused in its own words")
{
	empty();
	region(MB, 99 * MB, FIRMWARE);
	REFUSED("shows no RAM");
	put(INFO, 1 << 3, 4);
	REFUSED("says nothing about memory");
	assert_non_null(strstr(multiboot_parse(0x36d76289, INFO, &info), "not started by a multiboot1 loader"));
	assert_non_null(strstr(multiboot_parse(MAGIC, 0xfffffff0, &info), "outside memory"));
}

TEST("without a map, mem_upper says how much RAM follows the first MiB")
{
	empty();
	put(INFO, 1 | 1 << 3, 4);
	put(INFO + 8, 127 * 1024 + 3, 4);
	module(2 * MB, 3 * MB);
	assert_null(parse());
	EXPECT_RAM({MB, 128 * MB});
}

TEST("without a map, a mem_upper of 0 is no RAM, and one of 4 TiB ends at 448 GiB")
{
	empty();
	put(INFO, 1 | 1 << 3, 4);
	module(2 * MB, 3 * MB);
	REFUSED("shows no RAM");
	put(INFO + 8, 0xffffffff, 4);
	assert_null(parse());
	EXPECT_RAM({MB, DIRECT_SIZE});
}

static const struct { uint32_t start, end; const char *words; } bad_modules[] = {
	{2 * MB, 2 * MB, "empty, in low memory"}, {3 * MB, 2 * MB, "empty, in low memory"}, {0, MB, "empty, in low memory"},
	{MB - PAGE, 2 * MB, "empty, in low memory"}, {2 * MB + 1, 3 * MB, "page-aligned"}, {0xfffff000, ~0u, "outside RAM"},
	{99 * MB, 100 * MB + 1, "outside RAM"}, {200 * MB, 201 * MB, "outside RAM"}, {49 * MB, 52 * MB, "outside RAM"},
	{10 * MB, 11 * MB, "two modules overlap"}, {9 * MB, 12 * MB, "two modules overlap"},
	{10 * MB - PAGE, 10 * MB + 1, "two modules overlap"}, {10 * MB + PAGE, 10 * MB + PAGE + 1, "two modules overlap"},
};

TEST("a module that is empty, low, unaligned, outside RAM, across a hole, or overlaps another is refused")
{
	for (unsigned i = 0; i < LENGTH(bad_modules); i++) {
		empty();
		region(MB, 49 * MB, RAM);
		region(51 * MB, 49 * MB, RAM);
		module(10 * MB, 10 * MB + PAGE + 1); /* its last byte takes a page */
		assert_null(parse());
		module(bad_modules[i].start, bad_modules[i].end);
		REFUSED(bad_modules[i].words);
	}
}

TEST("32 modules are taken, 33 and none are refused, and so is a list outside memory")
{
	empty();
	region(MB, 99 * MB, RAM);
	REFUSED("no module");
	for (unsigned i = 0; i < 32; i++)
		module((i + 2) * MB, (i + 3) * MB);
	assert_null(parse());
	check_promises();
	assert_int_equal(info.nmodules, 32);
	module(90 * MB, 91 * MB);
	REFUSED("more than 32");
	put(INFO + 20, 0xffffffff, 4);
	REFUSED("more than 32");
	put(INFO + 20, 1, 4);
	put(INFO + 24, 0xfffffff8, 4);
	REFUSED("lies outside memory");
	put(INFO, 1 | 1 << 6, 4);
	REFUSED("no module");
}

TEST("a command line without an end is cut")
{
	empty();
	region(MB, 99 * MB, RAM);
	module(2 * MB, 3 * MB);
	memset(memory + STRINGS - TABLES, 'x', SIZE - (STRINGS - TABLES));
	assert_null(parse());
	assert_int_equal(strlen(info.command), COMMAND_MAX - 1);
	assert_int_equal(strlen(info.module[0].command), sizeof info.module[0].command - 1);
	put(INFO + 16, 0xffffffff, 4);
	assert_null(parse());
}

TEST("tables cut off at any byte are refused or parsed, never read beyond")
{
	empty();
	region(0, 0x9fc00, RAM);
	region(MB, 99 * MB, RAM);
	region(50 * MB, 1, FIRMWARE);
	module(2 * MB, 3 * MB);
	module(3 * MB, 4 * MB);
	for (uint64_t end = 0; end < TABLES + SIZE; end += end < INFO || end > INFO + 64 ? 7 : 1) {
		physical_end = end;
		const char *wrong = parse();
		check_promises();
		assert_true(wrong || end >= MODULES);
	}
	physical_end = 4 * GB;
	assert_null(parse());
}

/* ---- Against an oracle: pages one by one ---- */

#define PAGES 300u

static void random_map(uint8_t *ram)
{
	uint8_t kept[PAGES] = {0};
	memset(ram, 0, PAGES);
	empty();
	for (unsigned n = random() % 12 + 1; n; n--) {
		uint64_t unit = random() % 2 ? PAGE : 0x234, base = random() % (250 * PAGE / unit) * unit;
		uint64_t length = random() % (random() % 2 ? 3 : 50 * PAGE / unit) * unit;
		unsigned type = random() % 3 ? RAM : FIRMWARE;
		region(base, length, type);
		for (uint64_t p = 0; length && p < PAGES; p++)
			if (type == RAM)
				ram[p] |= base <= p * PAGE && base + length >= (p + 1) * PAGE;
			else
				kept[p] |= base < (p + 1) * PAGE && base + length > p * PAGE;
	}
	for (unsigned p = 0; p < PAGES; p++)
		ram[p] &= !kept[p];
}

TEST("random memory maps come out page by page as RAM in no reserved region")
{
	srandom(2);
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t want[PAGES], got[PAGES] = {0};
		random_map(want);
		parse();
		check_promises();
		/* Two pieces of RAM that share a page only together fill it. */
		for (unsigned k = 0; k < info.nram; k++)
			for (uint64_t p = info.ram[k].start / PAGE; p < info.ram[k].end / PAGE; p++)
				got[p] = 1;
		assert_memory_equal(got, want, PAGES);
	}
}

TEST("mutated tables are refused, or keep every promise")
{
	srandom(3);
	for (unsigned i = 0; i < 60000; i++) {
		uint8_t ram[PAGES];
		random_map(ram);
		module(MB, MB + PAGE * (random() % 5));
		module(MB + PAGE * (random() % 9), MB + PAGE * 9);
		for (unsigned k = random() % 6; k; k--) {
			static const uint32_t places[] = {INFO, MAP, MODULES};
			static const uint8_t edges[] = {0, 1, 0x14, 0x7f, 0x80, 0xff, 0x10, 0x40};
			memory[places[random() % 3] + random() % 96 - TABLES] = edges[random() % 8];
		}
		parse();
		check_promises();
	}
}
