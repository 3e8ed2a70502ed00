"""The ownership table recomputed from what refers to frames: tables, threads, loaded roots. The checks are those of
src/kern/audit.c that the table alone can answer; this one needs no debug kernel and no machine that still runs."""
import collections
from headers import abi
from machine import TABLES, TYPE, TYPE_NAME, is_leaf, leaf_pfn, span

UNCOUNTED = TYPE["TABLE"], TYPE["CPU"]  # they never change or go away
OWNED = {TYPE["DATA"], *TABLES, TYPE["ENV"], TYPE["THREAD"], TYPE["CPU"], TYPE["DEVICE"]}
PINS = "root", "upcall_root", "upcall", "batch"


class Audit:
    def __init__(self, machine):
        self.machine = machine
        self.problems = []
        self.refs, self.counts, self.owned = collections.Counter(), collections.Counter(), collections.Counter()
        self.count_roots()
        self.count_entries()
        self.count_threads()
        for pfn in range(machine.nframes):
            self.record(pfn)
        self.envs()

    def wrong(self, pfn, sentence):
        self.problems.append(f"frame {pfn:#x} ({TYPE_NAME.get(self.machine.type(pfn), '?')}): {sentence}")

    def count_roots(self):
        kernel_root = int(self.machine.variable("kernel_root")["n"])
        cpus = self.machine.variable("epoch_cpu")
        for c in range(self.machine.ncpus):
            root = int(cpus[c]["root"]["n"])
            self.refs[root] += root != kernel_root

    def count_entries(self):
        for table, level, index, entry in self.machine.entries():
            pfn = abi.fh_pte_pfn(entry)
            if level == 4 and pfn == table:  # the recursive window
                continue
            self.counts[table] += 1
            if is_leaf(level, entry):
                self.leaf(table, level, index, entry)
            else:
                self.refs[pfn] += 1
                self.link(table, level, index, pfn)

    def leaf(self, table, level, index, entry):
        first, n = leaf_pfn(level, entry), span(level) // abi.FH_PAGE
        if first + n > self.machine.nframes:
            self.wrong(table, f"entry {index} names frames beyond the table")
            return
        for pfn in range(first, first + n):
            self.refs[pfn] += 1
        kind = self.machine.type(first)
        if kind in (TYPE["FREE"], TYPE["KERNEL"]):
            self.wrong(table, f"entry {index} maps frame {first:#x}, which is {TYPE_NAME[kind]}")
        elif entry & abi.FH_W and kind not in (TYPE["DATA"], TYPE["DEVICE"]):
            self.wrong(table, f"entry {index} is writable, but frame {first:#x} is {TYPE_NAME.get(kind, '?')}")
        if not entry & abi.FH_U or (level == 1 and entry & abi.FH_G):
            self.wrong(table, f"entry {index} has U=0 or G=1")

    def link(self, table, level, index, child):
        if child >= self.machine.nframes or TABLES.get(self.machine.type(child)) != level - 1:
            self.wrong(table, f"entry {index} links frame {child:#x}, which is no PT{level - 1}")
        elif self.machine.owner(child) != self.machine.owner(table):
            link = self.machine.record(child)["link"]
            if (abi.fh_link_parent(link), abi.fh_link_index(link)) != (table, index):
                self.wrong(child, f"linked by the foreign table {table:#x} [{index}], which its record doesn't say")

    def count_threads(self):
        for pfn in self.machine.frames("THREAD"):
            thread = self.machine.thread(pfn)
            for pin in PINS:
                self.refs[int(thread[pin])] += int(thread[pin]) != 0
            self.refs[pfn] += int(thread["state"]) == abi.fh_thread_state.index("FH_RUNNING")

    def record(self, pfn):
        state, link, tenant, stamp = self.machine.table()[4 * pfn:4 * pfn + 4]
        kind, owner = abi.fh_type(state), abi.fh_owner(state)
        if kind == TYPE["BUSY"]:
            self.wrong(pfn, "claimed by a CPU that is changing it")
            return
        if kind not in TYPE_NAME:
            self.wrong(pfn, "no such type")
        if state & abi.FH_STATE_LOCK or stamp >> 48 & 255 != stamp >> 56:
            self.wrong(pfn, "locked by a CPU that is changing it")
        if kind != TYPE["FREE"] and tenant and abi.fh_name_pfn(tenant) == owner:
            self.wrong(pfn, "granted to its own owner")
        if kind in OWNED:
            self.owned[owner] += 1
            if self.machine.type(owner) != TYPE["ENV"]:
                self.wrong(pfn, f"its owner {owner:#x} is no ENV")
        elif owner:
            self.wrong(pfn, f"has the owner {owner:#x}, but its type has none")
        if kind not in UNCOUNTED and abi.fh_refs(state) != self.refs[pfn]:
            self.wrong(pfn, f"refs says {abi.fh_refs(state)}, {self.refs[pfn]} references are found")
        if kind in TABLES and abi.fh_count(link) != self.counts[pfn]:
            self.wrong(pfn, f"count says {abi.fh_count(link)}, {self.counts[pfn]} present entries are found")

    def envs(self):
        """Accounts, after all records are seen."""
        for pfn in self.machine.frames("ENV"):
            account = int(self.machine.env(pfn)["account"])
            if abi.fh_owned(account) != self.owned[pfn]:
                self.wrong(pfn, f"account says {abi.fh_owned(account)} frames owned, {self.owned[pfn]} are found")
            if abi.fh_owned(account) > abi.fh_quota(account):
                self.wrong(pfn, f"owns {abi.fh_owned(account)} frames of a quota of {abi.fh_quota(account)}")
