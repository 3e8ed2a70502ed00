#!/usr/bin/env python3
"""test/oracle/mutants.py [--half] [WORD...]: seeded mistakes in the ownership table, each of which a test must notice. Prints TAP.

Each mistake replaces a piece of text that stands exactly once in its file: one that doesn't is a failure. The changed
file is compiled and linked with the others, and `oracle --quick` is run, then the unit tests, until one fails. Caught
means that a test said `not ok`: not that nothing was built, nor that it took too long. WORD: only mistakes about that.
--half: every second mistake only, for `make test`; `make test-oracle` tries all.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KERN = os.path.join(ROOT, "src/kern")
BUILD = os.path.join(ROOT, "build/oracle")
UNIT = os.path.join(ROOT, "build/unit")
LIMIT = 300 # seconds; a test that takes longer has caught nothing

# file: (the mistake, text, what stands there instead)
MISTAKES = {
    "frame.c": [
        ("authority ends one env early", "depth <= FH_ENV_DEPTH", "depth < FH_ENV_DEPTH"),
        ("a name's pfn may lie beyond the table", "if (e.n >= nframes || fh_type", "if (fh_type"),
        ("a name without serial is for anybody", "if (serial == 0 && !authority(me, e))", "if (0)"),
        ("a name's serial isn't compared", "if (serial != 0 && serial != atomic_get(&env_at(e)->serial))", "if (0)"),
        ("a dead env is found", "	if (dead)\n", "	if (dead && 0)\n"),
        ("a frozen env is given frames", "FH_ACCOUNT_DEAD | FH_ACCOUNT_FROZEN", "FH_ACCOUNT_DEAD"),
        ("quota is exceeded by one", "room = fh_quota(old) - fh_owned(old);", "room = fh_quota(old) - fh_owned(old) + 1;"),
        ("quota in use is moved away", "quota < (int64_t)fh_owned(old)", "quota < 0"),
        ("a dead env is given quota", "if (n > 0 && (old & FH_ACCOUNT_DEAD))", "if (0)"),
        ("quota that the other side refuses is lost", "	if (r < 0)\n		quota_add(from, amount);\n", ""),
        ("quota moves the wrong way", "from = n >= 0 ? parent : e, to = n >= 0 ? e : parent;", "from = n >= 0 ? e : parent, to = n >= 0 ? parent : e;"),
        ("the repossession vector is one off", "atomic_plus(&env->repossessed, 1ul);", "atomic_plus(&env->repossessed, 1ul) + 1;"),
        ("a reference is taken whoever the owner is", "fh_type(old) != type || !same(owner_of(old), owner)", "fh_type(old) != type"),
        ("a refused large page keeps its references", "	for (; r < 0 && got > 0; got--)\n		ref_put(pfn(first.n + got - 1));\n", ""),
        ("a refused large page drops one too many", "ref_put(pfn(first.n + got - 1));", "ref_put(pfn(first.n + got));"),
        ("references are counted up to the very limit", ">= FH_REFS_MAX - REFS_HEADROOM", ">= FH_REFS_MAX"),
        ("references from one below the limit are refused", ">= FH_REFS_MAX - REFS_HEADROOM", ">= FH_REFS_MAX - REFS_HEADROOM - 1"),
        ("a lost mapping isn't stamped", "	stamp_now(f);\n	ref_put(f);", "	ref_put(f);"),
        ("a claim awaits only its last frame's quiet", "*stamp = MAX(*stamp, stamp_of(pfn(first.n + got)))", "*stamp = stamp_of(pfn(first.n + got))"),
        ("a claim doesn't wait", ": await_quiet(stamp);\n	if (r < 0) {\n		unclaim_run", ": 0;\n	if (r < 0) {\n		unclaim_run"),
        ("a refused claim leaves the frames BUSY", "		unclaim_run(first, got); /* [epoch 19] */\n", ""),
        ("a refused claim keeps the quota", "		got = 0;\n	}\n	env_return", "	}\n	env_return"),
        ("quota reserved for nothing is kept", "	env_return(e, reserved - got);\n", ""),
        ("too few FREE frames are claimed all the same", "got < least ? REFUSE", "got < least && !got ? REFUSE"),
        ("a run may end one past the table", "n > nframes - *first)", "n > nframes - *first + 1)"),
        ("a run may be empty", "n == 0 || *first >= nframes", "*first >= nframes"),
        ("the sum of first frame and number wraps", "n > nframes - *first)", "*first + n > nframes)"),
        ("unknown flags pass", "(flags & ~FH_ALLOC_KEEP)", "(flags & ~(FH_ALLOC_KEEP | 2))"),
        ("frames are claimed for whoever can be named", "	if (!authority(me, e))\n		return REFUSE(EPERM, \"frames are", "	if (0)\n		return REFUSE(EPERM, \"frames are"),
        ("all who claim get to see old contents", "flags & FH_ALLOC_KEEP);\n		commit", "true);\n		commit"),
        ("a stranger frees", "fh_type(state) == FH_KERNEL || !authority(me, owner))\n		return REFUSE(EPERM, \"the frame isn't yours to free",
         "fh_type(state) == FH_KERNEL)\n		return REFUSE(EPERM, \"the frame isn't yours to free"),
        ("a mapped frame is freed", "	if (fh_refs(state) != 0)\n		return REFUSE(EBUSY, \"the frame is still mapped or pinned\");\n	if (!claim_exact(f, make_state(FH_DATA, owner, 0)))",
         "	if (!claim_exact(f, state))"),
        ("a run that frees some reports an error", "return i ? (long)i : r;", "return r;"),
        ("freeing the 65th frame, too", "i < MIN(n, ROUND); i++)\n		if ((r = free_one", "i < MIN(n, ROUND + 1); i++)\n		if ((r = free_one"),
        ("a thread's pins are kept", "		thread_unpin(thread_at(f));\n", "		;\n"),
        ("a thread's last pin is kept", "i < 4; i++)\n		if (pins[i])", "i < 3; i++)\n		if (pins[i])"),
        ("a line of envs grows one too long", "env_at(owner)->depth + 1 > FH_ENV_DEPTH", "env_at(owner)->depth > FH_ENV_DEPTH"),
        ("a frame becomes a table before it is quiet", "	long r = await_quiet(stamp_of(f));\n	uint64_t serial", "	long r = 0;\n	uint64_t serial"),
        ("serial numbers go past the last", "serial > FH_SERIAL_MAX)", "serial > FH_SERIAL_MAX + 1)"),
        ("a refused retyping leaves the frame BUSY", "		atomic_set(&record(f)->state, make_state(FH_DATA, owner, 0));\n		return r;\n	}\n	frame_zero", "		return r;\n	}\n	frame_zero"),
        ("a new table keeps what stood in the frame", "	frame_zero(f);\n	if (type == FH_PT4)", "	if (type == FH_PT4)"),
        ("a new PT4 lacks the kernel's entry", "		mach_fill_root(f);\n", "		;\n"),
        ("an env is made a child of root", "depth = env_at(owner)->depth + 1;", "depth = 1;"),
        ("a dead env's quota is lost", "	quota_add(owner_of(state_of(e)), fh_quota(old)); /* [env 9] */\n", ""),
        ("a dead env isn't stamped", "	stamp_now(e); /* [env 10]", "	/* [env 10]"),
        ("root dies", "	if (type == FH_ENV && same(owner, f))\n		return REFUSE(EPERM, \"root never dies\");\n", ""),
        ("a linked table becomes DATA", "idle = make_state(type, owner, 0);\n", "idle = state;\n	state = make_state(type, owner, 0);\n"),
        ("a runnable thread becomes DATA", "run == FH_STOPPED || run == FH_FAULTED", "true"),
        ("a thread's serial may come again", "		stamp_max(f, thread_at(f)->serial); /* which must not come again in this frame */\n", ""),
        ("a table becomes DATA before it is quiet", "		r = await_quiet(stamp_of(f)); /* [env 12] */\n", "		r = 0;\n"),
        ("who fails to bury leaves the frame BUSY", "		atomic_set(&record(f)->state, idle); /* [env 11] */\n", ""),
        ("what was a table keeps its bytes", "	frame_zero(f);\n	commit(f, FH_DATA, owner, 0);", "	commit(f, FH_DATA, owner, 0);"),
        ("a stranger retypes", "from == FH_KERNEL || !authority(me, owner_of(state))", "from == FH_KERNEL"),
        ("frames past the end are retyped", "	if (n >= nframes)\n		return REFUSE(EINVAL, \"no such frame\");\n	pfn_t f = pfn(mach_index(n, nframes));\n	uint64_t state = state_of(f);\n	unsigned from",
         "	if (n > nframes)\n		return REFUSE(EINVAL, \"no such frame\");\n	pfn_t f = pfn(n);\n	uint64_t state = state_of(f);\n	unsigned from"),
    ],
    "frame.h": [
        ("a full table becomes DATA, or FREE when unlinked", "return fh_count(atomic_get(&record(t)->link)) == 0;", "return t.n != 0;"),
        ("a frame with references is claimed", "return atomic_cas(&record(f)->state, &state, make_state(FH_BUSY",
         "state = state_of(f);\n	return atomic_cas(&record(f)->state, &state, make_state(FH_BUSY"),
        ("a grant outlives the frame's type", "	record(f)->tenant = 0;\n	atomic_set(&record(f)->link, 0ul);\n", "	atomic_set(&record(f)->link, 0ul);\n"),
        ("the last owner is forgotten", "	record(f)->tenant = last_owner;\n", "	(void)last_owner;\n"),
        ("an ancestor frees unseen", "	if (!same(me, owner))\n		env_repossess(owner, f);\n	frame_poison", "	(void)me;\n	frame_poison"),
        ("a freed frame stays on its owner's account", "	env_return(owner, 1); /* [env 14] */\n", ""),
        ("the next owner sees the last one's bytes", "if (!keep || record(f)->tenant != env_name(env))", "if (!keep)"),
    ],
    "grant.c": [
        ("a frame is granted to its owner", "	if (same(to, owner))\n", "	if (0)\n"),
        ("a second grant replaces the first", "	if (record(f)->tenant != 0)\n", "	if (0)\n"),
        ("a table is granted while stale translations are left", "is_table(fh_type(state)) && !quiet(stamp_of(f))", "0"),
        ("an ancestor grants unseen", "if (!same(me, owner) && takeable(fh_type(state)))", "if (0)"),
        ("who has granted keeps the lock", "			env_repossess(owner, f);\n	}\n	record_unlock(f);\n", "			env_repossess(owner, f);\n	}\n"),
        ("a window stays linked when withdrawn", "	r = pt_unlink_foreign(f, owner_of(state));\n", "	r = 0;\n"),
        ("withdrawing doesn't wait", "return r < 0 ? r : await_quiet(stamp_of(f)); /* [link 15]", "return r; /* [link 15]"),
        ("the tenant is cleared last", "	atomic_swap(&record(f)->tenant, 0ul); /* [link 11] before the link is read: get_child goes the other way round */\n	record_unlock(f);\n	if (!is_table(fh_type(state)))\n		return 0;\n	r = pt_unlink_foreign(f, owner_of(state));\n	return r < 0 ? r : await_quiet(stamp_of(f));",
         "	record_unlock(f);\n	r = is_table(fh_type(state)) ? pt_unlink_foreign(f, owner_of(state)) : 0;\n	if (r == 0 && is_table(fh_type(state)))\n		r = await_quiet(stamp_of(f));\n	if (r == 0)\n		atomic_swap(&record(f)->tenant, 0ul);\n	return r;"),
        ("the tenant isn't cleared", "	atomic_swap(&record(f)->tenant, 0ul); /* [link 11]", "	/* [link 11]"),
        ("granting a table doesn't wait first", "	if (name && is_table(fh_type(state_of(f))) && (r = await_quiet(stamp_of(f))) < 0)\n		return r;\n", ""),
        ("a stranger grants", "	if (!authority(me, owner_of(state)))\n", "	if (0)\n"),
        ("a PT3 is granted", "	if (!grantable(fh_type(state)))\n", "	if (!grantable(fh_type(state)) && fh_type(state) != FH_PT3)\n"),
        ("a mapped frame is taken", "	uint64_t idle = make_state(type, owner_of(state_of(f)), 0);\n", "	uint64_t idle = state_of(f);\n"),
        ("a run of frames goes on with another type", "takeable(type) && fh_type(state_of(f)) == type && ", "takeable(fh_type(state_of(f))) && takeable(type) && "),
        ("what is granted to others is taken", " && atomic_get(&record(f)->tenant) == tenant;\n}\n\nstatic long claim", ";\n}\n\nstatic long claim"),
        ("a CPU taken stays granted", "		atomic_set(&record(f)->tenant, 0ul);\n		atomic_set(&record(f)->state", "		atomic_set(&record(f)->state"),
        ("a CPU taken stays on the account", "		env_return(owner_of(state), 1);\n", ""),
        ("a frame taken stays on the account", "			env_return(old, 1);\n", ""),
        ("a refused take leaves the frames BUSY", "			atomic_set(&record(f)->state, make_state(type, old, 0));\n", "			;\n"),
        ("a refused take keeps the quota", "	if (r < 0)\n		env_return(me, n);\n", ""),
        ("a take doesn't wait", "		stamp = MAX(stamp, stamp_of(f));\n", ""),
        ("a take keeps quota that it didn't need", "	env_return(me, room - got);\n", ""),
        ("BUSY is asked for as if it were granted", "	if (!granted(pfn(first), type, tenant))\n		return NOT_GRANTED;\n	long room", "	long room"),
        ("a sync awaits its last frame only", "stamp = MAX(stamp, stamp_of(pfn(first + i)));", "stamp = stamp_of(pfn(first + i));"),
        ("a sync doesn't wait", "	r = await_quiet(stamp);\n	return r < 0 ? r : (long)n;", "	return n;"),
    ],
    "pte.c": [
        ("a non-present large page in a PT3 names nothing (L1TF)", "(at->level == 2 || at->level == 3)", "at->level == 2"),
        ("a non-present word names a frame (L1TF)", "return f < nframes && (f != 0 || large) ?", "return 0 ?"),
        ("a non-present large page at 0 passes", "(f != 0 || large)", "f != 0"),
        ("G=1 passes", "FH_PS | FH_PFN_FIELD", "FH_PS | FH_G | FH_PFN_FIELD"),
        ("a reserved bit passes", "FH_AVL | FH_NX)\n", "FH_AVL | 1ul << 39 | FH_NX)\n"),
        ("U=0 passes", " || !(e & FH_U))\n", ")\n"),
        ("the frame behind the last is mapped", "fh_pte_pfn(e) >= nframes)", "fh_pte_pfn(e) > nframes)"),
        ("a link has cache bits", "	if (e & (FH_PWT | FH_PCD))\n", "	if (e & FH_PWT)\n"),
        ("PS in a PT3", "at->level != 2 ||", "at->level > 3 ||"),
        ("a large page isn't aligned", " || fh_pte_pfn(e) % FH_LARGE_FRAMES != 0)\n", ")\n"),
        ("a large page leaves the table", "nframes - fh_pte_pfn(e) < FH_LARGE_FRAMES", "nframes - fh_pte_pfn(e) < 1"),
        ("a large page is executable on any CPU", "	if (!(e & FH_NX) && !large_exec)\n", "	if (0)\n"),
        ("RAM is mapped uncached", "	if (type == FH_DATA && at->level == 1 && (e", "	if (0 && (e"),
        ("a stranger's frame is mapped", "	if (!authority(at->me, owner))\n			return", "	if (0)\n			return"),
        ("frame and table of unrelated envs", "!env_within(owner, at->owner) && !env_within(at->owner, owner)", "0"),
        ("only an ancestor's frame is mapped", "!env_within(owner, at->owner) && !env_within(at->owner, owner)", "!env_within(at->owner, owner)"),
        ("FREE frames are mapped", "type == FH_FREE || type == FH_KERNEL", "type == FH_KERNEL"),
        ("KERNEL frames are refused for the wrong reason", "type == FH_FREE || type == FH_KERNEL", "type == FH_FREE"),
        ("tables are mapped writable", "	if (e & FH_W)\n", "	if ((e & FH_W) && !is_table(type))\n"),
        ("tables are mapped uncached", "	if (at->level == 1 && (e & (FH_PWT | FH_PCD | FH_PAT)))\n		return REFUSE(EINVAL, \"RAM is mapped write-back: cache bits are for DEVICE frames\");\n	if (!uncounted", "	if (!uncounted"),
        ("anybody's tables are shown", "!same(f, at->owner) && !env_within(owner, at->owner)", "!same(f, at->owner) && 0"),
        ("an env isn't shown to itself", "!uncounted(type) && !same(f, at->owner) &&", "!uncounted(type) &&"),
        ("a CPU frame's mapping is counted down", "	if (!uncounted(fh_type(state_of(first)))) /* all", "	if (fh_type(state_of(first)) != FH_TABLE) /* all"),
        ("a large page maps DEVICE", "type != FH_DATA && type != FH_TABLE)", "type != FH_DATA && type != FH_DEVICE && type != FH_TABLE)"),
        ("the table is executable by large pages", "kind == LARGE && type == FH_TABLE && !(e & FH_NX)", "0"),
        ("a large page counts only its first frame", "return ref_get_run(first, span(kind), type", "return ref_get_run(first, 1, type"),
        ("a tenant links into another's table", "return same(at->me, at->owner) && atomic_get", "return atomic_get"),
        ("a link skips a level", "	if (fh_type(state) != at->level + FH_PT1 - 2)\n", "	if (!is_table(fh_type(state)) || fh_type(state) >= at->level + FH_PT1 - 1)\n"),
        ("a stranger's table is linked", "same(at->me, at->owner) && atomic_get(&record(c)->tenant) == env_name(at->me);", "same(at->me, at->owner);"),
        ("a table is linked by two strangers", "		if (old & LINK_PARENT_MASK) {\n", "		if (0) {\n"),
        ("who is refused a link keeps the reference", "			ref_put(c);\n			return REFUSE(EBUSY, \"the table is linked", "			return REFUSE(EBUSY, \"the table is linked"),
        ("a foreign link isn't recorded", "	if (r < 0 || own)\n", "	if (r < 0 || own || over)\n"),
        ("the recursive window is writable", "	if (kind == SELF && (e & RIGHTS) != FH_NX)\n", "	if (kind == SELF && !(e & FH_NX))\n"),
        ("the recursive window is executable", "	if (kind == SELF && (e & RIGHTS) != FH_NX)\n", "	if (kind == SELF && (e & FH_W))\n"),
        ("a cleared leaf isn't stamped", "		stamp_entry(at, old);\n		put_frames", "		put_frames"),
        ("a cleared leaf keeps its reference", "		put_frames(entry_pfn(old), span(k));\n", ""),
        ("an unlinked table isn't stamped", "	stamp_now(c); /* [link 2] */\n", ""),
        ("an unlinked table's record still names the slot", "		atomic_minus(&record(c)->link, here); /* [link 3] */\n", "		;\n"),
        ("an unlinked table keeps its reference", "	ref_put(c); /* [link 4] */\n", ""),
        ("the recursive window is widened", "	if (k == SELF)\n", "	if (0)\n"),
        ("a former tenant widens its link", "return authority(at->me, owner_of(state)) || tenancy(at, entry_pfn(old))\n", "return 1\n"),
        ("a large page is made executable", "	if (k == LARGE && !(new & FH_NX) && (!large_exec || fh_type(state) == FH_TABLE))\n", "	if (0)\n"),
        ("a right is added to a frame without asking", "	return leaf_allowed(at, new, entry_pfn(old), state);\n", "	return 0;\n"),
    ],
    "pt.c": [
        ("a frame past the end is taken for a table", "	if (at->t.n >= nframes)\n", "	if (at->t.n > nframes)\n"),
        ("any frame is a table", "	if (at->level - 1 > 3)\n", "	if (at->level - 1 > 4)\n"),
        ("a stranger's table is changed", "	if (!authority(me, at->owner))\n		return REFUSE(EPERM, \"no authority over the table\");\n", ""),
        ("the kernel's slot is changed", "at->level == 4 ? FH_KERNEL_SLOT : 512", "512"),
        ("the last slot but one is the last", "at->index + count > limit", "at->index + count >= limit"),
        ("a run leaves the table", "at->index + count > limit", "at->index >= limit"),
        ("reserved bits pass", " || (w & RESERVED) ||\n", " ||\n"),
        ("both flush flags pass", " ||\n	    (w & FH_FLUSH_MASK) == FH_FLUSH_MASK)", ")"),
        ("raw words have A and D", "return old & FH_P ? old & (FH_A | FH_D) : 0;", "return old & (FH_A | FH_D);"),
        ("the self-map counts as an entry", "(is != WORD && is != SELF) -", "(is != WORD) -"),
        ("a table's count isn't kept", "	if (d->present)\n		atomic_plus(&record(at->t)->link, (uint64_t)d->present);\n", ""),
        ("quota of frames unmapped isn't returned", "	if (d->freed)\n		env_return(at->owner, d->freed);\n", ""),
        ("a run maps one frame everywhere", "i++, e += step)", "i++, e += 0 * step)"),
        ("a large page goes over a full slot", "(kind == LARGE && was != WORD) ||", "(0) ||"),
        ("a large page is replaced without a gap", " || (was == LARGE && kind != WORD))", ")"),
        ("the old entry is dropped before the new one is accepted", "		if ((d->error = get_entry(at, e, kind, index)) < 0)\n			return i;\n		d->extra += extra(at, e);\n		drop_entry(at, replace(at, d, index, e), index); /* [link 9] */\n",
         "		drop_entry(at, replace(at, d, index, 0), index);\n		if ((d->error = get_entry(at, e, kind, index)) < 0)\n			return i;\n		replace(at, d, index, e);\n"),
        ("what SET replaces is kept", "		drop_entry(at, replace(at, d, index, e), index); /* [link 9] */\n", "		replace(at, d, index, e);\n"),
        ("NARROW adds W", "(old & e & FH_W) | ((old | e) & FH_NX)", "(e & FH_W) | ((old | e) & FH_NX)"),
        ("NARROW adds X", "(old & e & FH_W) | ((old | e) & FH_NX)", "(old & e & FH_W) | (e & FH_NX)"),
        ("W is gained unasked", "if ((old ^ new) & (old ^ FH_W) & RIGHTS) { /* W gained or NX lost */", "if ((old ^ new) & old & FH_NX) {"),
        ("X is gained unasked", "if ((old ^ new) & (old ^ FH_W) & RIGHTS) { /* W gained or NX lost */", "if ((old ^ new) & (old ^ FH_W) & FH_W) {"),
        ("W is lost without a stamp", "if ((old ^ new) & (old ^ FH_NX) & RIGHTS) { /* W lost or NX gained */", "if ((old ^ new) & ~old & FH_NX) {"),
        ("a narrowed link isn't stamped", "			stamp_upper(at, old);\n", "			;\n"),
        ("PROTECT forgets A and D", "new = (old & ~(RIGHTS | FH_AVL)) | rights", "new = (old & ~(RIGHTS | FH_AVL | FH_A | FH_D)) | rights"),
        ("a cleared D isn't stamped", "			if (old & FH_D)\n				stamp_entry(at, old);\n", ""),
        ("a stranger's frame is freed by unmapping", " || !authority(at->me, owner) || !claim_exact(f, state)) {\n		put_other", " || !claim_exact(f, state)) {\n		put_other"),
        ("what is mapped elsewhere is freed by unmapping", "	if (state != make_state(FH_DATA, owner, 1) ||", "	if (fh_type(state) != FH_DATA ||"),
        ("what is kept is said to be freed", "	d->kept = true;\n}", "}"),
        ("links are unmapped", "		if (k == LINK || k == SELF) {\n", "		if (k == SELF) {\n"),
        ("an unmapped frame isn't stamped", "			stamp_now(f);\n			if (!own", "			if (!own"),
        ("an ancestor unmaps and frees as if it were its own", "	bool own = same(at->me, at->owner);\n", "	bool own = true;\n"),
        ("a cleared slot keeps a word that names a frame", "	if (clears && e != 0 && entry_kind(at, e) != WORD)\n", "	if (clears && (e & FH_P))\n"),
        ("a claimed page has no reference", "type, at->owner, 1);\n", "type, at->owner, 0);\n"),
        ("a claimed page isn't counted", "		d->present++;\n", ""),
        ("CLAIM maps uncached", "	if (!link && at->level == 1 && (e & (FH_PWT | FH_PCD | FH_PAT)))\n", "	if (!link && at->level == 1 && (e & (FH_PWT | FH_PCD)))\n"),
        ("CLAIM makes links", "	if (link ? kind != LINK : kind != LEAF && kind != LARGE)\n", "	if (link && kind != LINK)\n"),
        ("what was put into the slot meanwhile is overwritten", "	else if (empty_slots(at, slots) < slots)\n", "	else if (0)\n"),
        ("a claim that comes too late keeps the quota", "	unclaim_run(first, frames);\n	env_return(at->owner, frames);\n", "	unclaim_run(first, frames);\n"),
        ("a claim that comes too late leaves the frames BUSY", "	unclaim_run(first, frames);\n	env_return(at->owner, frames);\n", "	env_return(at->owner, frames);\n"),
        ("a full slot is claimed over", "	if (slots == 0)\n		return REFUSE(EEXIST, \"the slot already holds a present entry\");\n", "	slots += slots == 0;\n"),
        ("a run of claims overwrites", "uint64_t each = span(kind), slots = empty_slots(at, kind == LARGE ? 1 : n);", "uint64_t each = span(kind), slots = empty_slots(at, 1) ? n : 0;"),
        ("a new table isn't zeroed", "scrub(pfn(first.n + i), at->owner, keep && !link);", "scrub(pfn(first.n + i), at->owner, keep || link);"),
        ("the caller's quota pays, not the table's owner's", "claim_quiet(at->owner, first, slots * each, each)", "claim_quiet(at->me, first, slots * each, each)"),
        ("a stranger's table is freed by unlinking", "table_empty(c) && authority(at->me, owner) && claim_exact(c, idle);", "table_empty(c) && claim_exact(c, idle);"),
        ("a window that another tenant's table links is granted", "return link == 0 || same(by, tenant) ||", "return 1 || same(by, tenant) ||"),
        ("a window that its new tenant's table links isn't granted", "same(by, tenant) || ", ""),
        ("a BUSY table is no table", "fh_type(at->state) == FH_BUSY ?", "0 ?"),
        ("a table freed stays on the account", "		commit_free(c, env_name(owner));\n		env_return(owner, 1);\n", "		commit_free(c, env_name(owner));\n"),
        ("an ancestor frees a table unseen", "		if (!same(at->me, owner))\n			env_repossess(owner, c);\n", ""),
        ("an ancestor's link is withdrawn", " && !authority(at.owner, owner)) /* [link 18] */", ")"),
        ("a withdrawn window stays in the tenant's tree", "			run_clear(&at, 1, 0, &d);\n", "			;\n"),
        ("pt_set does more than one slot", "	if (fh_what_count(what) != 1)\n", "	if (fh_what_count(what) == 0)\n"),
        ("INVLPG in the kernel's half", "(what & FH_FLUSH_LOCAL) && !user_address(va)", "0"),
        ("flushes are forced beyond the budget", "	if ((what & FH_FLUSH_ALL) && (r = flush_allowed()) < 0)\n		return r;\n", ""),
        ("a flush asked for is forgotten", "	if (what & FH_FLUSH_ALL)\n		flush_owner(at.owner);\n	else if (va)", "	if (va)"),
        ("KEPT is returned as done", "return r < 0 ? r : d.kept ? FH_OP_KEPT : FH_OP_DONE;", "return r < 0 ? r : FH_OP_DONE;"),
        ("an operation's frames don't advance", "bool moves = claims(at->op) ||", "bool moves = 0 ||"),
        ("an operation's slots don't advance", "		op->what = w + (slots << 18);\n", "		op->what = w;\n"),
        ("D of earlier rounds is lost", " | (w & SEEN_D ? FH_D : 0);", ";"),
        ("a batch goes on after a forced flush", "		stop = epoch_cpu[mach_cpu()].forced != 0;\n", ""),
        ("a batch's flush is forgotten", "	if (flush.n)\n		flush_owner(flush);\n	else if (flushes)", "	if (flushes)"),
        ("a batch says that a refused operation is done", "		*done += fh_what_count(op.what) == 0;\n", "		*done += 1;\n"),
    ],
    "epoch.c": [
        ("an epoch equal to the stamp is past it", "if (epoch_of(c) <= stamp) /* [epoch 12] */", "if (epoch_of(c) < stamp)"),
        ("the last CPU is never awaited", "	for (unsigned c = 0; c < ncpus; c++)\n		if (epoch_of(c) <= stamp)", "	for (unsigned c = 0; c + 1 < ncpus || c == 0; c++)\n		if (epoch_of(c) <= stamp)"),
        ("the clock stands still", "	clock_advance(s); /* [epoch 13] */\n", ""),
        ("a root that is no longer loaded isn't stamped", "		ref_drop(old); /* [root 6] [root 7] */\n", "		ref_put(old);\n"),
        ("a loaded root isn't referenced", "		ref_hold(r); /* [root 1] */\n", "		;\n"),
        ("a CPU that idles has an epoch", "	publish(FH_EPOCH_INF); /* [epoch 21] */\n", ""),
        ("any CPU's slice of flushes is endless", "	if (self()->budget == 0)\n", "	if (0)\n"),
        ("a flush is for the owner's CPUs only", "	force(stamp, pfn(0));\n", "	force(stamp, owner_of(state_of(self()->root)));\n"),
    ],
}
COMPILED = ["frame.c", "grant.c", "epoch.c", "pte.c", "pt.c", "audit.c"]
ORACLE = sorted(glob.glob("*.c", root_dir=os.path.join(ROOT, "test/oracle")))
UNIT_TESTS = ["test_frame", "test_pt"]


def run(words, **more):
    return subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)


def objects(place, changed, flags, kind):
    """Compiles the changed file, or all if it is a header, into `place`: objects by name, or what the compiler said."""
    made = {}
    for name in COMPILED if changed.endswith(".h") else [changed]:
        made[name] = f"{place}/{name[:-2]}.{kind}.o"
        built = run(["gcc", *flags, "-c", "-o", made[name], f"{place}/{name}"])
        if built.returncode:
            return None, built.stdout
    return made, ""


def failed(command):
    """What a test said of the first thing that failed; '' if all passed; None if it never ended."""
    try:
        ran = run(command, timeout=LIMIT, env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "SEED": "1", "STEPS": "300",
                                               "ASAN_OPTIONS": "detect_leaks=0"})
    except subprocess.TimeoutExpired:
        return None
    if ran.returncode == 0:
        return ""
    said = re.search(r"^not ok (?:\d+ - )?(.*)$", ran.stdout, re.M)
    return said[1] if said else f"exit status {ran.returncode}"


def attempt(number, file, sentence, old, new):
    """(caught?, who noticed, what it said)"""
    place = f"{BUILD}/mutants/{number}"
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    with open(f"{KERN}/{file}") as f:
        text = f.read()
    if text.count(old) != 1:
        return False, f"the text to be replaced stands {text.count(old)} times in {file}", ""
    if file.endswith(".h"): # all that include it, beside it
        for path in glob.glob(f"{KERN}/*.h") + [f"{KERN}/{name}" for name in COMPILED]:
            shutil.copy(path, place)
    with open(f"{place}/{file}", "w") as f:
        f.write(text.replace(old, new))
    host = ["-std=gnu11", "-w", "-DFREEHOLD_KERNEL", "-DFH_HOST=1", "-DDEBUG=1", "-Itest/unit", f"-I{place if file.endswith('.h') else KERN}"]
    made, error = objects(place, file, ["-O0", *host], "plain")
    if made is None:
        return False, "it doesn't compile", error
    rest = [made.get(n) or f"{BUILD}/obj/src/kern/{n[:-2]}.o" for n in COMPILED]
    rest += [f"{BUILD}/obj/test/oracle/{n[:-2]}.o" for n in ORACLE]
    linked = run(["gcc", "-o", f"{place}/oracle", *rest])
    if linked.returncode:
        return False, "it doesn't link", linked.stdout
    said = failed([f"{place}/oracle", "--quick"])
    if said:
        return True, "oracle", said
    sanitized = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *host]
    made, error = objects(place, file, sanitized, "unit")
    for test in reversed(UNIT_TESTS) if file.startswith("pt") else UNIT_TESTS:
        words = []
        for o in OBJECTS[test]:
            name = os.path.basename(o)[:-2] + ".c"
            words.append(made[name] if name in made and "/src/kern/" in o else o)
        linked = run(["gcc", "-fsanitize=address,undefined", "-o", f"{place}/{test}", *words, "-lcmocka"])
        if linked.returncode:
            return False, "it doesn't link", linked.stdout
        said = failed([f"{place}/{test}"])
        if said:
            return True, test, said
    return False, "no test notices" if said == "" else "a test never ends", ""


OBJECTS = {}


def main():
    words = [a for a in sys.argv[1:] if a != "--half"]
    sources = [p for p in glob.glob("src/kern/*.c", root_dir=ROOT) if os.path.exists(f"{UNIT}/obj/{p[:-2]}.o")]
    sources += [p for p in glob.glob("test/unit/*.c", root_dir=ROOT) if not p.startswith("test/unit/test_")]
    for test in UNIT_TESTS:
        OBJECTS[test] = [f"{UNIT}/obj/{p[:-2]}.o" for p in sources + [f"test/unit/{test}.c"]]
    chosen = [(f, *m) for f, all_of in MISTAKES.items() for m in all_of if not words or any(w in f + " " + m[0] for w in words)]
    if "--half" in sys.argv:
        chosen = chosen[::2]
    caught = 0
    print(f"1..{len(chosen) + 1}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tries = [pool.submit(attempt, n, *m) for n, m in enumerate(chosen, 1)]
        for n, (m, t) in enumerate(zip(chosen, tries), 1):
            good, who, said = t.result()
            caught += good
            print("ok" if good else "not ok", n, f"- {m[0]}: {m[1]}: " + (f"{who}: {said}" if good else f"NOT CAUGHT: {who}"), flush=True)
            if said and not good:
                print("\n".join("# " + line for line in said.splitlines()))
    whole = caught == len(chosen)
    print("ok" if whole else "not ok", len(chosen) + 1, f"- {caught}/{len(chosen)} seeded mistakes caught")
    sys.exit(not whole)


main()
