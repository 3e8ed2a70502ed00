/*
 * test_topology.c - topology_find on good, damaged and made-up tables of both kinds.
 * SEED=n replays the random tables, STEPS=n makes more of them.
 */
#include "physical.h"
#include "topology.h"

#define EBDA 0x9fc00u
#define BASE_END 0x9f800u /* of base memory, unlike EBDA so that each is looked for where it should be */
#define ROM 0xe0000u
#define RSDT 0x20000u
#define XSDT 0x21000u
#define OTHER 0x22000u /* a table that is no MADT */
#define MADT 0x30000u
#define MADT2 0x40000u
#define MP_ROM 0xf0000u
#define MP_TABLE 0x50000u
#define LAPIC 0xfee00000ul
#define GB (1ul << 30)

static struct topology found;
static uint32_t rsdp, madt, madt_end, mp_end;

/* ---- Making tables ---- */

static void put(uint64_t at, uint64_t value, unsigned bytes)
{
	assert_true(at + bytes <= sizeof physical);
	memcpy(physical + at, &value, bytes);
}

static uint32_t word(uint32_t at)
{
	uint32_t w;
	memcpy(&w, physical + at, 4);
	return w;
}

/* Make `bytes` from `at` on add up. What lies behind the first MiB is zeroes. */
static void seal(uint32_t at, uint32_t bytes, uint32_t checksum)
{
	uint8_t sum = 0;
	physical[at + checksum] = 0;
	for (uint32_t i = 0; i < bytes && at + i < sizeof physical; i++)
		sum += physical[at + i];
	physical[at + checksum] = -sum;
}

static void seal_madt(void) { seal(madt, word(madt + 4), 9); }

static void put_sign(uint32_t at, const char *sign) { memcpy(physical + at, sign, strlen(sign)); }

static void root_table(uint32_t at, const char *sign, unsigned size, uint64_t first, uint64_t second)
{
	put_sign(at, sign);
	put(at + 4, 36 + 2 * size, 4);
	put(at + 36, first, size);
	put(at + 36 + size, second, size);
	seal(at, 36 + 2 * size, 9);
}

static void put_rsdp(uint32_t at, unsigned revision)
{
	rsdp = at;
	put_sign(at, "RSD PTR ");
	put(at + 15, revision, 1);
	put(at + 16, RSDT, 4);
	seal(at, 20, 8);
	if (revision < 2)
		return;
	put(at + 20, 36, 4);
	put(at + 24, XSDT, 8);
	seal(at, 36, 32);
}

static void new_madt(uint32_t at)
{
	madt = at;
	madt_end = at + 44;
	put_sign(at, "APIC");
	put(at + 4, 44, 4);
	put(at + 36, LAPIC, 4);
	seal_madt();
}

static void madt_entry(unsigned type, unsigned length, uint32_t word0, uint32_t word1, uint32_t word2, uint32_t word3)
{
	uint32_t words[4] = {(word0 & 0xffff0000) | length << 8 | type, word1, word2, word3};
	memcpy(physical + madt_end, words, length < 2 ? 2 : length < 16 ? length : 16);
	madt_end += length;
	put(madt + 4, madt_end - madt, 4);
	seal_madt();
}
static void cpu(unsigned id, uint32_t flags) { madt_entry(0, 8, id << 24, flags, 0, 0); }
static void x2cpu(uint32_t id, uint32_t flags) { madt_entry(9, 16, 0, id, flags, 0); }

static void put_mp_pointer(uint32_t at, unsigned feature)
{
	put_sign(at, "_MP_");
	put(at + 4, feature ? 0 : MP_TABLE, 4);
	put(at + 8, 1, 1);
	put(at + 9, 4, 1);
	put(at + 11, feature, 1);
	seal(at, 16, 10);
}

static void seal_mp(void) { seal(MP_TABLE, word(MP_TABLE + 4) & 0xffff, 7); }

static void new_mp(uint32_t lapic)
{
	put_sign(MP_TABLE, "PCMP");
	mp_end = MP_TABLE + 44;
	put(MP_TABLE + 4, 44, 2);
	put(MP_TABLE + 34, 0, 2);
	put(MP_TABLE + 36, lapic, 4);
	seal_mp();
}

static void mp_entry(unsigned type, unsigned id, unsigned flags)
{
	put(mp_end, type | id << 8 | 0x14 << 16 | flags << 24, 4);
	mp_end += type ? 8 : 20;
	put(MP_TABLE + 4, mp_end - MP_TABLE, 2);
	put(MP_TABLE + 34, (word(MP_TABLE + 34) & 0xffff) + 1, 2);
	seal_mp();
}

static void empty(void)
{
	memset(physical, 0, sizeof physical);
	physical_end = 4 * GB;
	put(0x40e, EBDA >> 4, 2);
	put(0x413, BASE_END >> 10, 2);
}

/* A MADT without entries, which both root tables lead to. */
static void empty_acpi(unsigned revision)
{
	put_sign(OTHER, "FACP");
	put_rsdp(ROM, revision);
	root_table(RSDT, "RSDT", 4, OTHER, MADT);
	root_table(XSDT, "XSDT", 8, OTHER, MADT);
	new_madt(MADT);
}

/* CPUs 3 and 1 in the MADT; 7 in the MP table. */
static void both(unsigned revision)
{
	empty();
	empty_acpi(revision);
	cpu(3, 1);
	cpu(1, 1);
	put_mp_pointer(MP_ROM, 0);
	new_mp(0xfee10000);
	mp_entry(0, 7, 1);
}

/* ---- Looking at what comes out ---- */

static void find(void)
{
	memset(&found, 0x55, sizeof found);
	topology_find(&found);
	assert_true(found.ncpus <= FH_MAX_CPUS);
	assert_true((found.source != NULL) == (found.ncpus != 0));
	if (!found.source)
		assert_true(found.lapic == 0 && found.beyond == 0);
	bool seen[256] = {false};
	for (unsigned i = 0; i < found.ncpus; i++) {
		assert_true(found.apic_id[i] < 255 && !seen[found.apic_id[i]]);
		seen[found.apic_id[i]] = true;
	}
}

static void expect(const char *source, uint64_t lapic, unsigned beyond, unsigned n, const uint8_t *ids)
{
	find();
	if (!found.source || strcmp(found.source, source))
		suite_fail(__FILE__, __LINE__, "from %s, not %s", found.source ? found.source : "nowhere", source);
	assert_int_equal(found.lapic, lapic);
	assert_int_equal(found.beyond, beyond);
	assert_int_equal(found.ncpus, n);
	assert_memory_equal(found.apic_id, ids, n);
}
#define IDS(...) LENGTH(((uint8_t[]){__VA_ARGS__})), (uint8_t[]){__VA_ARGS__}
#define EXPECT_MADT(...) expect("ACPI MADT", LAPIC, 0, IDS(__VA_ARGS__))
#define EXPECT_MP(...) expect("MP table", 0xfee10000, 0, IDS(__VA_ARGS__))

static void expect_none(void)
{
	find();
	assert_null(found.source);
}

/* ---- ACPI ---- */

TEST("the MADT's enabled CPUs are listed in its order; disabled ones and those that could be plugged in are not")
{
	both(0);
	EXPECT_MADT(3, 1);
	cpu(4, 0);
	cpu(5, 2); /* online capable: may be switched on later */
	madt_entry(1, 12, 0x20000, 0xfec00000, 0, 0); /* an I/O APIC */
	madt_entry(4, 6, 0xff0000, 1, 0, 0);
	cpu(254, 3);
	EXPECT_MADT(3, 1, 254);
	for (unsigned places = 0; places < 2; places++) { /* whatever the order of the root table */
		root_table(RSDT, "RSDT", 4, places ? MADT : 0, places ? OTHER : MADT);
		EXPECT_MADT(3, 1, 254);
	}
}

TEST("the RSDP is found on every 16-byte boundary of its two areas, and nowhere else")
{
	static const struct { uint32_t from, to; } areas[] = {{EBDA, EBDA + 0x400}, {ROM, 0x100000}};
	for (unsigned a = 0; a < LENGTH(areas); a++)
		for (uint32_t at = areas[a].from; at + 20 <= areas[a].to; at += at + 64 < areas[a].to ? 0x90 : 16) {
			empty();
			empty_acpi(0);
			cpu(9, 1);
			memset(physical + rsdp, 0, 20);
			expect_none();
			put_rsdp(at, 0);
			EXPECT_MADT(9);
		}
	static const uint32_t wrong[] = {EBDA + 0x400, EBDA + 8, ROM - 16, ROM + 1, 0x10000, 0xfffe8};
	for (unsigned i = 0; i < LENGTH(wrong); i++) {
		memset(physical + rsdp, 0, 20);
		put_rsdp(wrong[i], 0);
		expect_none();
	}
}

TEST("an RSDP that doesn't add up is passed over for a later one")
{
	both(0);
	put_rsdp(ROM + 0x100, 0);
	physical[ROM + 10] ^= 1;
	EXPECT_MADT(3, 1);
	physical[ROM + 0x10a] ^= 1;
	EXPECT_MP(7);
}

/* Revision 2 with another MADT for the XSDT: CPU 20. */
static void two_madts(void)
{
	both(2);
	new_madt(MADT2);
	cpu(20, 1);
	root_table(XSDT, "XSDT", 8, OTHER, MADT2);
}

TEST("from revision 2 on the XSDT is taken; when it leads nowhere, the RSDT")
{
	two_madts();
	EXPECT_MADT(20);
	root_table(XSDT, "XSDT", 8, MADT2 + 4 * GB, MADT2); /* an entry that can't be read is passed over */
	EXPECT_MADT(20);
	root_table(XSDT, "XSDT", 8, MADT2 + 4 * GB, -8ul);
	EXPECT_MADT(3, 1);
	two_madts();
	put(MADT2 + 44 + 4, 0, 4); /* its CPU isn't enabled */
	seal_madt();
	EXPECT_MADT(3, 1);
	two_madts();
	put_rsdp(ROM, 1);
	EXPECT_MADT(3, 1);
	for (unsigned i = 20; i < 36; i++) {
		two_madts();
		physical[ROM + i] ^= 1 << i % 8;
		EXPECT_MADT(3, 1);
	}
	static const struct { unsigned at, bytes; uint64_t value; } bad[] = {
		{20, 4, 0}, {20, 4, 35}, {20, 4, 0xffffffff}, {24, 8, 0}, {24, 8, XSDT + 4 * GB},
		{24, 8, -4ul}, {24, 8, RSDT}};
	for (unsigned i = 0; i < LENGTH(bad); i++) {
		two_madts();
		put(ROM + bad[i].at, bad[i].value, bad[i].bytes);
		seal(ROM, 36, 32);
		EXPECT_MADT(3, 1);
	}
}

TEST("a bit flipped in any byte of RSDP, RSDT or MADT is noticed, and the MP table taken")
{
	static const struct { uint32_t at, bytes; } tables[] = {{ROM, 20}, {RSDT, 44}, {MADT, 60}};
	both(0);
	for (unsigned t = 0; t < LENGTH(tables); t++)
		for (unsigned i = 0; i < tables[t].bytes; i++) {
			physical[tables[t].at + i] ^= 1 << i % 8;
			EXPECT_MP(7);
			physical[tables[t].at + i] ^= 1 << i % 8;
		}
	EXPECT_MADT(3, 1);
}

TEST("of a root table or MADT cut at any length, the whole entries count; one longer than 1 MiB doesn't")
{
	for (uint32_t length = 10; length < 200; length++) { /* shorter, no checksum could be right but by chance */
		both(0);
		put(RSDT + 4, length, 4);
		seal(RSDT, length, 9);
		if (length < 44)
			EXPECT_MP(7);
		else
			EXPECT_MADT(3, 1);
		both(0);
		put(MADT + 4, length, 4);
		seal(MADT, length, 9);
		if (length < 52)
			EXPECT_MP(7);
		else if (length < 60)
			EXPECT_MADT(3);
		else
			EXPECT_MADT(3, 1);
	}
	static const uint32_t lengths[] = {0, 1, 4, 8, 1 << 20, (1 << 20) + 1, 1u << 31, 0xfffffff0, 0xffffffff};
	for (unsigned i = 0; i < LENGTH(lengths); i++)
		for (unsigned t = 0; t < 2; t++) {
			both(0);
			put((t ? MADT : RSDT) + 4, lengths[i], 4);
			seal(t ? MADT : RSDT, lengths[i], 9);
			if (lengths[i] == 1 << 20)
				EXPECT_MADT(3, 1);
			else
				EXPECT_MP(7);
		}
}

TEST("a MADT entry of length 0 or 1, or beyond the end, ends the list; one too short for its type says nothing")
{
	for (unsigned length = 0; length < 2; length++) {
		both(0);
		madt_entry(0, length, 0, 0, 0, 0);
		madt_end += 2 - length;
		cpu(5, 1);
		EXPECT_MADT(3, 1);
	}
	for (unsigned type = 0; type < 10; type += 9) {
		both(0);
		physical[madt_end + 8] = 0xff; /* a type 0 CPU, would this be read as an entry */
		madt_entry(type, 9, 0x5000000, 1, 1, 0);
		physical[MADT + 44 + 8 * 2 + 1] = 10;
		seal_madt();
		EXPECT_MADT(3, 1);
		for (unsigned length = 2; length < (type ? 16 : 8); length++) {
			both(0);
			madt_entry(type, length, 0x5000000, 5, 1, 0);
			cpu(6, 1);
			EXPECT_MADT(3, 1, 6);
		}
	}
	both(0);
	madt_entry(5, 11, 0, 1, 1, 0);
	cpu(6, 1);
	EXPECT_MADT(3, 1, 6);
}

TEST("the MADT's override says where the local APICs are, all 64 bits of it")
{
	both(0);
	madt_entry(5, 12, 0, 0x12345000, 0xab, 0);
	expect("ACPI MADT", 0xab12345000, 0, IDS(3, 1));
}

TEST("x2APIC entries below 255 are CPUs like others; IDs from 255 on are only counted")
{
	both(0);
	x2cpu(2, 1);
	x2cpu(254, 1);
	x2cpu(8, 0);
	x2cpu(255, 1);
	x2cpu(256, 1);
	x2cpu(256 + 9, 1);
	x2cpu(0xffffffff, 1);
	x2cpu(0xfffffffe, 0);
	cpu(255, 0); /* as firmware marks an empty socket */
	expect("ACPI MADT", LAPIC, 4, IDS(3, 1, 2, 254));
	cpu(255, 1);
	expect("ACPI MADT", LAPIC, 5, IDS(3, 1, 2, 254));
}

TEST("of 300 CPUs 255 are listed, each once however often it stands there")
{
	uint8_t want[255];
	empty();
	empty_acpi(2);
	for (unsigned i = 0; i < 300; i++)
		x2cpu(i, 1);
	for (unsigned i = 0; i < 300; i++)
		cpu(i % 255, 1);
	for (unsigned i = 0; i < 255; i++)
		want[i] = i;
	expect("ACPI MADT", LAPIC, 45, 255, want);
	both(0);
	cpu(1, 1);
	x2cpu(3, 1);
	cpu(3, 1);
	x2cpu(256 + 3, 1);
	expect("ACPI MADT", LAPIC, 1, IDS(3, 1));
}

TEST("a table that ends where memory ends is read to its end")
{
	both(0);
	put_rsdp(EBDA, 0);
	root_table(RSDT, "RSDT", 4, 0, ROM);
	new_madt(ROM);
	cpu(5, 0);
	cpu(6, 1);
	physical_end = madt_end;
	EXPECT_MADT(6);
}

TEST("a table with another signature isn't taken, though it adds up")
{
	for (unsigned i = 0; i < 4; i++) {
		both(0);
		physical[RSDT + i] ^= 0x20;
		seal(RSDT, 44, 9);
		EXPECT_MP(7);
		both(0);
		physical[MADT + i] ^= 0x20;
		seal_madt();
		EXPECT_MP(7);
		physical[MP_TABLE + i] ^= 0x20;
		seal_mp();
		expect_none();
	}
}

TEST("the first MADT is the one: if it is damaged there is no looking for another")
{
	both(0);
	new_madt(MADT2);
	cpu(20, 1);
	root_table(RSDT, "RSDT", 4, MADT, MADT2);
	EXPECT_MADT(3, 1);
	physical[MADT + 20] ^= 1;
	EXPECT_MP(7);
}

TEST("tables that lead to themselves or to each other end")
{
	both(2);
	root_table(RSDT, "RSDT", 4, RSDT, XSDT);
	root_table(XSDT, "XSDT", 8, XSDT, ROM);
	EXPECT_MP(7);
	put(ROM + 16, ROM, 4);
	put(ROM + 24, ROM, 8);
	seal(ROM, 20, 8);
	seal(ROM, 36, 32);
	EXPECT_MP(7);
}

/* ---- MP ---- */

TEST("a MADT without a usable CPU leaves the word to the MP table, and nothing of its own")
{
	empty();
	expect_none();
	empty_acpi(2);
	madt_entry(5, 12, 0, 0, 1, 0);
	cpu(4, 0);
	x2cpu(300, 1);
	expect_none();
	put_mp_pointer(MP_ROM, 0);
	new_mp(0xfee10000);
	expect_none();
	mp_entry(0, 7, 0); /* unusable */
	expect_none();
	mp_entry(0, 6, 3); /* the boot CPU */
	mp_entry(1, 0, 0);
	mp_entry(2, 9, 1); /* an I/O APIC, no CPU */
	mp_entry(0, 200, 1);
	mp_entry(0, 6, 1);
	mp_entry(4, 0, 0xff);
	EXPECT_MP(6, 200);
	mp_entry(0, 255, 1);
	expect("MP table", 0xfee10000, 1, IDS(6, 200));
}

TEST("the MP pointer is found on every 16-byte boundary of its three areas, and nowhere else")
{
	static const uint32_t areas[] = {EBDA, BASE_END - 0x400, MP_ROM, 0xffc00};
	empty();
	new_mp(0xfee10000);
	mp_entry(0, 7, 1);
	for (unsigned a = 0; a < LENGTH(areas); a++)
		for (uint32_t at = areas[a]; at < areas[a] + 0x400; at += 16) {
			put_mp_pointer(at, 0);
			EXPECT_MP(7);
			memset(physical + at, 0, 16);
		}
	static const uint32_t wrong[] = {EBDA + 0x400, EBDA + 8, BASE_END, BASE_END - 0x410, MP_ROM - 16, MP_ROM + 1};
	for (unsigned i = 0; i < LENGTH(wrong); i++) {
		put_mp_pointer(wrong[i], 0);
		expect_none();
		memset(physical + wrong[i], 0, 16);
	}
	static const uint16_t words[] = {0, 1, 0x8000, 0xffff}; /* nonsense in the BIOS's data */
	put_mp_pointer(MP_ROM, 0);
	for (unsigned i = 0; i < LENGTH(words); i++) {
		put(0x40e, words[i], 2);
		put(0x413, words[LENGTH(words) - 1 - i], 2);
		EXPECT_MP(7);
	}
}

TEST("a bit flipped in any byte of the MP pointer or table is noticed")
{
	both(0);
	memset(physical + ROM, 0, 20);
	EXPECT_MP(7);
	for (unsigned i = 0; i < 16 + 64; i++) {
		uint8_t *byte = i < 16 ? &physical[MP_ROM + i] : &physical[MP_TABLE + i - 16];
		*byte ^= 1 << i % 8;
		expect_none();
		*byte ^= 1 << i % 8;
	}
}

TEST("of an MP table cut at any length or entry count, the whole entries count")
{
	for (unsigned length = 8; length < 120; length++)
		for (unsigned n = 0; n < 6; n++) {
			empty();
			put_mp_pointer(EBDA, 0);
			new_mp(0xfee10000);
			mp_entry(0, 7, 1);
			mp_entry(1, 8, 1);
			mp_entry(0, 9, 1);
			put(MP_TABLE + 4, length, 2);
			put(MP_TABLE + 34, n, 2);
			seal_mp();
			if (length < 64 || n == 0)
				expect_none();
			else if (length < 92 || n < 3)
				EXPECT_MP(7);
			else if (length < 112 || n < 6) /* what follows is zeroes: CPUs that aren't usable */
				EXPECT_MP(7, 9);
		}
	put(MP_TABLE + 4, 0xffff, 2);
	put(MP_TABLE + 34, 0xffff, 2);
	seal_mp();
	EXPECT_MP(7, 9);
	put(EBDA + 4, 0xfffffff0, 4); /* a table that would begin where memory ends */
	seal(EBDA, 16, 10);
	expect_none();
}

TEST("a default configuration is CPUs 0 and 1, without a table")
{
	for (unsigned type = 1; type < 8; type++) {
		empty();
		put_mp_pointer(EBDA, type);
		expect("MP table", LAPIC, 0, IDS(0, 1));
	}
}

/* ---- Anything at all ---- */

TEST("memory that ends at any byte is never read beyond")
{
	both(2);
	for (uint64_t end = 0; end < sizeof physical; end += end % 0x10000 < 120 || end > EBDA ? 13 : 0x3f1) {
		physical_end = end;
		find();
		assert_true(!found.source || end >= MP_TABLE);
	}
	physical_end = ROM + 40;
	EXPECT_MADT(3, 1);
}

static uint32_t any(uint32_t n) { return random() % n; }

static unsigned nwant, want_beyond;
static uint8_t want[255];

static void want_cpu(uint32_t id)
{
	if (id > 254)
		want_beyond++;
	else if (!memchr(want, id, nwant))
		want[nwant++] = id;
}

/* Good tables, and what they say. */
static void random_tables(void)
{
	bool mp = any(3) == 0;
	empty();
	nwant = want_beyond = 0;
	if (mp)
		put_mp_pointer(any(2) ? EBDA : MP_ROM + any(0x1000) * 16, 0);
	else
		empty_acpi(any(3));
	new_mp(LAPIC);
	for (unsigned n = 1 + any(any(8) ? 12 : 400); n; n--) {
		uint32_t id = any(any(4) ? 20 : 400), flags = any(4), type = any(5);
		if (mp)
			mp_entry(type, id & 0xff, flags);
		else if (type < 2)
			x2cpu(id, flags);
		else if (type < 4)
			cpu(id & 0xff, flags);
		else
			madt_entry(10 + any(246), 2 + any(254), random(), random(), random(), random());
		if (flags & 1 && (mp ? type == 0 : type < 4))
			want_cpu(mp || type > 1 ? id & 0xff : id);
	}
}

static void damage(void)
{
	static const uint32_t places[] = {0x400, EBDA, ROM, RSDT, XSDT, MADT, MADT + 44, MP_ROM, MP_TABLE,
	                                  MP_TABLE + 44};
	for (unsigned k = 1 + any(6); k; k--) {
		uint32_t at = places[any(LENGTH(places))] + any(any(2) ? 12 : 80);
		physical[at] = any(2) ? 1 << any(8) : any(2) ? 0 : random();
	}
	if (any(4) == 0)
		for (unsigned i = 0; i < 0x400; i++)
			physical[(any(2) ? MADT : MP_TABLE) + 44 + i] = random();
	if (any(4) == 0)
		return;
	seal(rsdp, 20, 8);
	seal(rsdp, 36, 32);
	seal(RSDT, word(RSDT + 4), 9);
	seal(XSDT, word(XSDT + 4), 9);
	seal_madt();
	seal_mp();
}

static unsigned survived;

static void make_tables(uint32_t seed, uint64_t steps)
{
	srandom(seed);
	rsdp = ROM;
	for (uint64_t step = 0; step < steps; step++) {
		random_tables();
		find();
		if (found.ncpus != nwant || memcmp(found.apic_id, want, nwant) || (nwant && found.beyond != want_beyond))
			suite_fail(__FILE__, __LINE__, "SEED=%u step %lu: %u CPUs and %u beyond, not %u and %u", seed,
			           step, found.ncpus, found.beyond, nwant, want_beyond);
		damage();
		find();
		survived += found.source != NULL;
	}
}

TEST("random tables say what was put into them; damaged at random, they still keep every promise")
{
	uint64_t steps = suite_env("STEPS", 1500);
	make_tables(suite_env("SEED", 1), steps);
	assert_true(survived >= steps / 10);
}

TEST("tables from a seed that nobody has tried do too")
{
	FILE *f = fopen("/dev/urandom", "r");
	uint32_t fresh = 0;
	assert_int_equal(fread(&fresh, sizeof fresh, 1, f), 1);
	fclose(f);
	fresh = suite_env("SEED", fresh);
	print_message("# SEED=%u\n", fresh);
	make_tables(fresh, suite_env("STEPS", 1500));
}

int main(void) { return suite_main("topology", NULL, NULL); }
