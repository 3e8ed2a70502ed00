/*
 * lock.pml - the lock of a page table: a ticket, then a bit of the state word taken together with type and owner. Read
 * it beside record_lock, record_unlock and claim_exact in src/kern/frame.h, install_claimed in pt.c, await_quiet in epoch.c.
 *
 * Proved: one CPU at a time holds a table's lock, and the table keeps type and owner meanwhile; a ticket holder never
 * finds the bit set; nobody is stuck: not on a table that has become something else, and not in a circle of lock, BUSY
 * frame and flush, because who holds a lock waits for nothing, and who waits for a flush holds no lock.
 *
 * The machine: table X is a PT1, later perhaps a PT3 (another type, the same frame). Each of NCPU CPUs does CALLS of these:
 * lock X as what it has been seen to be and change it; claim X, with no lock held, wait until all CPUs have flushed, and
 * commit it as the other type; claim frame G, await, then lock X and link G there. A CPU in the kernel takes no interrupt:
 * it flushes when it is back in user mode, or while it waits for others to flush.
 * The ticket counts modulo 4 here, 256 in the kernel: more than there are CPUs. `flushed` stands for the epochs.
 */
#ifndef NCPU
#define NCPU 3
#endif
#ifndef CALLS
#define CALLS 1
#endif
mtype = { PT1, PT3, CLAIMED };

mtype type = PT1;
bool held;              /* the lock, in the same word as the type */
byte next, serving;
bool g_busy;
byte holders;           /* ghost */
bool parent_held;       /* another table's lock, for -DTWO_LOCKS */
byte want[NCPU];        /* bit i: CPU i waits for this CPU to flush */

inline flush() { want[c] = 0 }

/* Wait until every other CPU has flushed; serve the others meanwhile. */
inline await() {
	d_step {
		want[c] = 0;
		i = 0;
		do
		:: i < NCPU -> if :: i != c -> want[i] = want[i] | (1 << c) :: else fi; i++
		:: else -> break
		od;
		i = 0
	};
	do
	:: want[c] != 0 -> flush()
	:: !((want[0] | want[1] | want[NCPU - 1]) & (1 << c)) -> break
	od
}

/* Lock X if it still is a `seen`: got says whether. */
inline table_lock() {
	atomic { mine = next; next = (next + 1) % 4 };               /* [lock 1] LOCKed add */
	serving == mine;                                             /* [lock 2] */
	atomic {
		if
#ifdef NO_TYPE_CHECK
		:: type != CLAIMED -> assert(!held); held = true; got = true
#else
		:: type == seen -> assert(!held); held = true; got = true /* [lock 3] CAS {type, owner, unlocked} -> locked */
#endif
		:: else -> got = false
		fi
	};
	if
	:: !got ->
#ifndef KEEP_TICKET
		serving = (serving + 1) % 4                          /* [lock 4] refused: the ticket goes on */
#else
		skip
#endif
	:: else -> atomic { holders++; assert(holders == 1 && type == seen) }
	fi
}

inline table_unlock() {
	atomic { assert(holders == 1 && type == seen); holders-- };
#ifdef PASS_FIRST
	serving = (serving + 1) % 4;
	held = false
#else
	held = false;                                                 /* [lock 5] LOCKed */
	serving = (serving + 1) % 4                                  /* [lock 6] the next one finds it free */
#endif
}

inline change() {
	seen = type;
	if
	:: seen == CLAIMED -> goto user_mode
	:: else
	fi;
	table_lock();
	if
	:: got ->
#ifdef AWAIT_LOCKED
		await();
#endif
#ifdef SPIN_ON_BUSY
		!g_busy; /* wants to map G */
#endif
		table_unlock()
	:: else
	fi
}

/* Two tables' locks at once: a link from the parent down, an unlink from the child up. */
inline link_two() {
	seen = type;
	if
	:: seen != CLAIMED ->
		atomic { !parent_held -> parent_held = true };
		table_lock();
		if
		:: got -> table_unlock()
		:: else
		fi;
		parent_held = false
	:: seen != CLAIMED ->
		table_lock();
		if
		:: got ->
			atomic { !parent_held -> parent_held = true };
			parent_held = false;
			table_unlock()
		:: else
		fi
	:: seen == CLAIMED
	fi
}

inline retype() {
	seen = type;
	atomic {
		if
#ifdef CLAIM_LOCKED
		:: seen != CLAIMED && type == seen -> type = CLAIMED
#else
		:: seen != CLAIMED && type == seen && !held -> type = CLAIMED /* [lock 7] CAS {type, owner, unlocked, refs 0} */
#endif
		:: else -> goto user_mode
		fi
	};
	await();
	type = (seen == PT1 -> PT3 : PT1)                            /* [lock 8] */
}

inline claim_and_link() {
	seen = type;
	atomic {
		if
		:: seen != CLAIMED && !g_busy -> g_busy = true
		:: else -> goto user_mode
		fi
	};
	await();                                                     /* [lock 9] no lock held */
	table_lock();                                                /* [lock 10] BUSY, then the lock; never the other way */
	if
	:: got -> table_unlock()
	:: else
	fi;
	g_busy = false
}

proctype Cpu(byte c) {
	byte calls, mine, i;
	mtype seen;
	bool got;
user_mode:
	atomic { mine = 0; got = false; seen = 0 };
end:	if
	:: want[c] != 0 -> flush()
	:: calls < CALLS -> calls++;
		if
		:: change()
		:: retype()
		:: claim_and_link()
#ifdef TWO_LOCKS
		:: link_two()
#endif
		fi
	fi;
	goto user_mode
}

init {
	atomic {
		byte k;
		for (k : 0 .. NCPU - 1) { run Cpu(k) }
	}
}
