/*
 * multiboot.c - the boot loader's tables, read defensively: every count is bounded, every range checked, every string
 * cut. Nothing here trusts that tables don't overlap or that lengths make sense.
 */
#include "multiboot.h"
#include "layout.h"

#define MAGIC 0x2badb002u
#define HAS_MEMORY (1u << 0)
#define HAS_COMMAND (1u << 2)
#define HAS_MODULES (1u << 3)
#define HAS_MAP (1u << 6)
#define MAP_RAM 1u
#define MAP_MAX 1024u

struct loader_info { /* multiboot1, 3.3 */
	uint32_t flags, mem_lower, mem_upper, boot_device, command, nmodules, modules, syms[4], map_length, map;
};
struct loader_module { uint32_t start, end, command, reserved; };
struct loader_region { uint32_t size; uint64_t base, length; uint32_t type; } __attribute__((packed));

static void read_string(uint64_t pa, char *to, unsigned max)
{
	unsigned i = 0;
	while (i < max - 1 && boot_read(pa + i, &to[i], 1) && to[i])
		i++;
	to[i] = 0;
}

/* Insert a range in order, merging it with what it touches. False when the list is full. */
static bool add_ram(struct boot_info *out, struct range r)
{
	unsigned i = 0, j;
	while (i < out->nram && out->ram[i].end < r.start)
		i++;
	for (j = i; j < out->nram && out->ram[j].start <= r.end; j++) {
		r.start = MIN(r.start, out->ram[j].start);
		r.end = r.end > out->ram[j].end ? r.end : out->ram[j].end;
	}
	if (i == j && out->nram == MAX_RAM)
		return false;
	unsigned tail = out->nram - j;
	for (unsigned k = 0; k < tail; k++) /* move up by one, or down over the merged */
		if (i == j)
			out->ram[out->nram - k] = out->ram[out->nram - k - 1];
		else
			out->ram[i + 1 + k] = out->ram[j + k];
	out->nram = i + 1 + tail;
	out->ram[i] = r;
	return true;
}

/* Take a reserved range out of the RAM. */
static void cut_ram(struct boot_info *out, struct range r)
{
	for (unsigned i = 0; i < out->nram; i++) {
		struct range had = out->ram[i];
		if (!overlaps(r, had))
			continue;
		for (unsigned k = i--; k + 1 < out->nram; k++)
			out->ram[k] = out->ram[k + 1];
		out->nram--;
		if (had.start < r.start)
			add_ram(out, (struct range){had.start, r.start}), i++;
		if (r.end < had.end)
			add_ram(out, (struct range){r.end, had.end}), i++;
	}
}

/* The end of a region, if need be cut at the last page of the address space. */
static uint64_t end_of(const struct loader_region *r)
{
	uint64_t end = r->base + r->length;
	return end < r->base ? -PAGE : end;
}

static bool insert_ram(struct boot_info *out, uint64_t start, uint64_t end)
{
	if (end > DIRECT_SIZE) {
		out->beyond += end - (start > DIRECT_SIZE ? start : DIRECT_SIZE);
		end = DIRECT_SIZE;
	}
	if (start >= end)
		return true;
	start = (start + PAGE - 1) & ~(PAGE - 1);
	end &= ~(PAGE - 1);
	return start >= end || add_ram(out, (struct range){start, end});
}

/* Two passes: what is RAM, then what is not; firmware's tables may overlap. */
static const char *read_map(uint32_t map, uint32_t length, struct boot_info *out)
{
	struct loader_region r;
	for (unsigned pass = 0; pass < 2; pass++) {
		uint64_t at = map, end = (uint64_t)map + length;
		for (unsigned n = 0; at + sizeof r <= end; n++, at += (uint64_t)r.size + 4) {
			if (n == MAP_MAX)
				return "the memory map has too many entries";
			if (!boot_read(at, &r, sizeof r) || r.size < sizeof r - 4)
				return "the memory map is malformed";
			uint64_t start = r.base, stop = end_of(&r);
			if (pass == 0 && r.type == MAP_RAM && !insert_ram(out, start, stop))
				return "the memory map has too many pieces";
			if (pass == 1 && r.type != MAP_RAM && r.length)
				cut_ram(out, (struct range){start & ~(PAGE - 1), (MIN(stop, -PAGE) + PAGE - 1) & ~(PAGE - 1)});
		}
	}
	return NULL;
}

bool in_ram(const struct boot_info *b, struct range r)
{
	for (unsigned i = 0; i < b->nram; i++)
		if (r.start >= b->ram[i].start && r.end <= b->ram[i].end)
			return true;
	return false;
}

static const char *read_modules(const struct loader_info *info, struct boot_info *out)
{
	if (info->nmodules > FH_MAX_MODULES)
		return "more than 32 modules";
	for (unsigned i = 0; i < info->nmodules; i++) {
		struct loader_module m;
		struct boot_module *to = &out->module[i];
		if (!boot_read(info->modules + i * sizeof m, &m, sizeof m))
			return "the module list lies outside memory";
		if (m.start >= m.end || m.start < LOW_MEMORY || m.start % PAGE)
			return "a module is empty, in low memory, or not page-aligned";
		to->where = (struct range){m.start, (m.end + PAGE - 1ul) & ~(PAGE - 1)};
		to->bytes = m.end - m.start;
		read_string(m.command, to->command, sizeof to->command);
		for (unsigned k = 0; k < i; k++)
			if (overlaps(to->where, out->module[k].where))
				return "two modules overlap";
		if (!in_ram(out, to->where))
			return "a module lies outside RAM";
		out->nmodules = i + 1;
	}
	return out->nmodules ? NULL : "no module: root, the first user program, must be given (-initrd)";
}

const char *multiboot_parse(uint32_t magic, uint32_t at, struct boot_info *out)
{
	struct loader_info info;
	const char *wrong = NULL;
	if (magic != MAGIC)
		return "not started by a multiboot1 loader";
	if (!boot_read(at, &info, sizeof info))
		return "the multiboot information lies outside memory";
	if (info.flags & HAS_COMMAND)
		read_string(info.command, out->command, sizeof out->command);
	if (info.flags & HAS_MAP)
		wrong = read_map(info.map, info.map_length, out);
	else if (info.flags & HAS_MEMORY)
		insert_ram(out, LOW_MEMORY, LOW_MEMORY + ((uint64_t)info.mem_upper << 10));
	else
		wrong = "the loader says nothing about memory";
	if (!wrong && out->nram == 0)
		wrong = "the memory map shows no RAM";
	if (wrong)
		return wrong;
	if (!(info.flags & HAS_MODULES))
		info.nmodules = 0;
	return read_modules(&info, out);
}
