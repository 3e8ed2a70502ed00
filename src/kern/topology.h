/*
 * topology.h - which CPUs there are, as the firmware says: ACPI MADT, else the MP configuration table. Pure: memory is
 * read through boot_read (multiboot.h).
 */
#pragma once
#include "types.h"

struct topology {
	const char *source;  /* "ACPI MADT", "MP table", or NULL: neither lists a usable CPU */
	uint64_t lapic;      /* physical address of the local APICs' registers; 0 if not said */
	unsigned ncpus;      /* usable CPUs listed, each once, in the firmware's order */
	unsigned beyond;     /* usable but for an APIC ID above 254 (x2APIC); not looked through for duplicates */
	uint8_t apic_id[FH_MAX_CPUS];
};

void topology_find(struct topology *out);
