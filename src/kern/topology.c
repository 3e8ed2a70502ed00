/*
 * topology.c - which CPUs there are: from the MADT, which the RSDP leads to through XSDT or RSDT (ACPI 6.5, 5.2), or
 * else from the MP configuration table (Intel MP specification 1.4, 4). Firmware isn't trusted: the first table with
 * the right signature counts, if its length is sane and its bytes add up to 0; a malformed entry ends its list.
 */
#include "topology.h"
#include "layout.h"
#include "multiboot.h"

#define KIB 1024ul
#define TABLE_MAX (1024 * KIB) /* none is longer in earnest; so loops end soon */
#define APIC_ID_MAX 254u       /* 255 is broadcast */
_Static_assert(FH_MAX_CPUS == APIC_ID_MAX + 1, "apic_id has room for each ID once");

struct rsdp { /* ACPI 5.2.5.3 */
	char sign[8];
	uint8_t checksum, oem[6], revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint32_t checksum2;
} __attribute__((packed));
struct acpi_table { /* ACPI 5.2.6, and the field that follows in the MADT (5.2.12) */
	char sign[4];
	uint32_t length, header[7], lapic, flags;
};
struct madt_entry { uint8_t type, length, acpi_id, apic_id; uint32_t word[2]; };

struct mp_pointer { char sign[4]; uint32_t config; uint8_t length, revision, checksum, feature[5]; }; /* MP 4.1 */
struct mp_config { /* MP 4.2 */
	char sign[4];
	uint16_t length;
	uint8_t revision, checksum, names[20];
	uint32_t oem_table;
	uint16_t oem_length, nentries;
	uint32_t lapic, extended;
};
struct mp_entry { uint8_t type, apic_id, apic_version, flags; }; /* MP 4.3.1 */

#define RSDP_BYTES 20u /* that its first checksum covers */
_Static_assert(sizeof(struct rsdp) == 36 && sizeof(struct acpi_table) == 44, "ACPI 5.2.5.3, 5.2.12");
_Static_assert(sizeof(struct mp_pointer) == 16 && sizeof(struct mp_config) == 44, "MP 4.1, 4.2");

static bool is_signed(uint64_t pa, const char *sign)
{
	char c;
	while (*sign && boot_read(pa, &c, 1) && c == *sign)
		pa++, sign++;
	return !*sign;
}

static bool adds_up(uint64_t pa, uint64_t bytes)
{
	uint8_t sum = 0, byte;
	for (uint64_t i = 0; i < bytes; i++, sum += byte)
		if (bytes > TABLE_MAX || !boot_read(pa + i, &byte, 1))
			return false;
	return sum == 0;
}

/* The first on a 16-byte boundary that is signed and adds up, or 0: in the extended BIOS data area, the last KiB of
 * base memory, or the BIOS from `bios` on (MP 4; ACPI 5.2.5.1, but for base memory). */
static uint64_t search(const char *sign, uint64_t bytes, uint64_t bios)
{
	uint16_t segment = 0, kib = 0; /* of the data area; of base memory */
	boot_read(0x40e, &segment, sizeof segment);
	boot_read(0x413, &kib, sizeof kib);
	uint64_t ebda = segment * 16ul, end = kib * KIB;
	const struct range area[] = {{ebda, ebda + KIB}, {end - KIB, end}, {bios, LOW_MEMORY}};
	for (unsigned i = 0; i < sizeof area / sizeof *area; i++)
		for (uint64_t pa = area[i].start; pa < area[i].end; pa += 16)
			if (is_signed(pa, sign) && adds_up(pa, bytes))
				return pa;
	return 0;
}

static void start_list(struct topology *out, const char *source, uint64_t lapic)
{
	out->source = source;
	out->lapic = lapic;
	out->ncpus = out->beyond = 0;
}

static void add_cpu(struct topology *out, uint32_t id)
{
	unsigned i = 0;
	while (i < out->ncpus && out->apic_id[i] != id)
		i++;
	if (id > APIC_ID_MAX)
		out->beyond++;
	else if (i == out->ncpus)
		out->apic_id[out->ncpus++] = id;
}

/* ---- ACPI ---- */

/* True if the MADT lists a usable CPU. */
static bool read_madt(uint64_t pa, struct topology *out)
{
	struct acpi_table t;
	struct madt_entry e;
	if (!boot_read(pa, &t, sizeof t) || !adds_up(pa, t.length))
		return false;
	start_list(out, "ACPI MADT", t.lapic);
	for (uint64_t at = sizeof t; at < t.length && boot_read(pa + at, &e, 2); at += e.length) {
		if (e.length < 2 || e.length > t.length - at)
			break;
		boot_read(pa + at, &e, MIN(e.length, sizeof e));
		if (e.type == 0 && e.length >= 8 && e.word[0] & 1) /* 5.2.12.2: processor local APIC, enabled */
			add_cpu(out, e.apic_id);
		if (e.type == 5 && e.length >= 12) /* 5.2.12.8: local APIC address override */
			out->lapic = e.word[0] | (uint64_t)e.word[1] << 32;
		if (e.type == 9 && e.length >= 16 && e.word[1] & 1) /* 5.2.12.12: processor local x2APIC, enabled */
			add_cpu(out, e.word[0]);
	}
	return out->ncpus != 0;
}

/* The RSDT's entries are 4 bytes, the XSDT's 8 (5.2.7, 5.2.8). */
static bool read_root_table(uint64_t pa, const char *sign, unsigned size, struct topology *out)
{
	uint32_t length;
	uint64_t table = 0;
	if (!is_signed(pa, sign) || !boot_read(pa + 4, &length, 4) || !adds_up(pa, length))
		return false;
	for (uint64_t at = offsetof(struct acpi_table, lapic); at + size <= length; at += size)
		if (boot_read(pa + at, &table, size) && is_signed(table, "APIC"))
			return read_madt(table, out);
	return false;
}

static bool read_acpi(uint64_t pa, struct topology *out)
{
	struct rsdp r;
	if (!boot_read(pa, &r, sizeof r))
		return false;
	if (r.revision >= 2 && r.length >= sizeof r && adds_up(pa, r.length) && read_root_table(r.xsdt, "XSDT", 8, out))
		return true;
	return read_root_table(r.rsdt, "RSDT", 4, out);
}

/* ---- MP ---- */

static bool read_mp(uint64_t pa, struct topology *out)
{
	struct mp_pointer p;
	struct mp_config c;
	struct mp_entry e;
	if (!boot_read(pa, &p, sizeof p))
		return false;
	if (p.feature[0]) { /* a default configuration (MP 5): two CPUs, no table */
		start_list(out, "MP table", 0xfee00000);
		add_cpu(out, 0);
		add_cpu(out, 1);
		return true;
	}
	if (!is_signed(p.config, "PCMP") || !boot_read(p.config, &c, sizeof c) || !adds_up(p.config, c.length))
		return false;
	start_list(out, "MP table", c.lapic);
	uint64_t at = sizeof c, size;
	for (unsigned n = 0; n < c.nentries && boot_read(p.config + at, &e, sizeof e); n++, at += size) {
		size = e.type == 0 ? 20 : 8; /* MP 4.3; type 0 is a processor */
		if (at + size > c.length)
			break;
		if (e.type == 0 && e.flags & 1)
			add_cpu(out, e.apic_id);
	}
	return out->ncpus != 0;
}

void topology_find(struct topology *out)
{
	uint64_t at;
	if ((at = search("RSD PTR ", RSDP_BYTES, 0xe0000)) && read_acpi(at, out))
		return;
	if ((at = search("_MP_", sizeof(struct mp_pointer), 0xf0000)) && read_mp(at, out))
		return;
	start_list(out, NULL, 0);
}
