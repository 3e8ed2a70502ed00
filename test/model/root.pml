/*
 * root.pml - context switches: a root is not reused while it is in some CPU's CR3; a flush of an owner's CPUs misses
 * none. Read it beside load_root, force and flush_owner in src/kern/epoch.c, dispatch and leave in sched.c.
 *
 * Proved: when thread 1 is gone and its root (frame 2) has been claimed and awaited, no CPU has it in CR3 (caches of
 * what it says live no longer than CR3 does), and its count never goes below zero; once flush_owner has returned, no CPU
 * in user mode has the entry that was cleared before in its TLB; nobody is stuck.
 *
 * The machine: threads 0 and 1 of one env, with roots 1 and 2; root 0 is the kernel's. Each CPU dispatches whichever
 * thread is READY, or idles. CPU 0 also, once each, clears an entry that both roots lead to and calls flush_owner, and
 * destroys thread 1: it drops the thread's pin of the root, then claims the root. `note` is the store buffer for
 * epoch_cpu.root. No tick ever comes: a flush must not wait for one (with -DTICKS they come, or not).
 * Left out: late visibility of epochs, stamps of DATA frames, budget (epoch.pml). Bounds: NCPU, MOVES switches in all.
 */
#ifndef NCPU
#define NCPU 2
#endif
#ifndef MOVES
#define MOVES 3
#endif
#define INF 255
#define NOTHING 9
mtype = { READY, RUNNING, GONE };

byte clock = 2, epoch[NCPU] = 2;
bool request[NCPU], ipi[NCPU];
byte cr3[NCPU], noted[NCPU], note[NCPU] = NOTHING;
byte refs[3] = 1, stamp[3] = 1; /* of the roots; 1: the thread's pin */
bool reused; /* root 2 */
mtype thread[2] = READY;
bool entry = true, tlb[NCPU], in_user[NCPU], flushed;
#define stale(n) (tlb[n] && in_user[n])
byte moves = MOVES;

active proctype Hardware() {
end:	do
	:: atomic { cr3[0] && !tlb[0] && entry -> tlb[0] = true }
	:: atomic { cr3[1] && !tlb[1] && entry -> tlb[1] = true }
	:: atomic { note[0] != NOTHING -> noted[0] = note[0]; note[0] = NOTHING }
	:: atomic { note[1] != NOTHING -> noted[1] = note[1]; note[1] = NOTHING }
#if NCPU > 2
	:: atomic { cr3[2] && !tlb[2] && entry -> tlb[2] = true }
	:: atomic { note[2] != NOTHING -> noted[2] = note[2]; note[2] = NOTHING }
#endif
	od
}
#define drained (note[c] == NOTHING)

inline unref() {
	atomic {
		drained;
		assert(refs[old] > 0);
		refs[old]--                                          /* [root 7] */
	}
}

inline load_root(r) {
	old = cr3[c];
#ifndef NO_REF
	if
	:: r != old && r != 0 -> atomic { drained -> refs[r]++ }     /* [root 1] before the load */
	:: else
	fi;
#endif
#ifdef UNREF_EARLY
	if
	:: r != old && old != 0 -> unref()
	:: else
	fi;
#endif
	if
	:: epoch[c] == INF -> e = clock; atomic { drained -> epoch[c] = e }
	:: else
	fi;
#ifdef NOTE_PLAIN
	note[c] = r;
#elif !defined(NOTE_LATE) && !defined(NOTE_AFTER_CLOCK)
	atomic { drained -> noted[c] = r }                           /* [root 3] LOCKed exchange, first */
#endif
	e = clock;                                                   /* [root 2] */
#ifdef NOTE_AFTER_CLOCK
	atomic { drained -> noted[c] = r }
#endif
	atomic { drained -> cr3[c] = r; tlb[c] = false }             /* [root 4] mov cr3: serializing */
#ifdef NOTE_LATE
	note[c] = r;
#endif
	epoch[c] = e;                                                /* [root 5] */
#if !defined(NO_REF) && !defined(UNREF_EARLY)
	if
	:: r != old && old != 0 ->
		atomic { if :: stamp[old] < clock -> stamp[old] = clock :: else fi } /* [root 6] */
		unref()
	:: else
	fi
#endif
}

inline serve_flush() {
	atomic { drained -> request[c] = false };
	load_root(cr3[c])
}

#define runs_owner(n, all) (all || (noted[n] != 0 && !(noted[n] == 2 && reused)))

/* `all`: not only the CPUs that run a root of the owner */
inline force(s, all) {
	atomic { drained -> if :: clock == s -> clock++ :: else fi }
	serve_flush();
	n = 0;
	do
	:: n < NCPU && n != c && epoch[n] <= s && runs_owner(n, all) -> /* [root 8] */
		atomic { ipi[n] = ipi[n] || !request[n]; request[n] = true; n++ }
	:: n < NCPU && !(n != c && epoch[n] <= s && runs_owner(n, all)) -> n++
	:: n == NCPU -> break
	od;
	n = 0;
	do
	:: n < NCPU && (epoch[n] > s || !runs_owner(n, all)) -> n++  /* [root 9] */
	:: n < NCPU && request[c] -> serve_flush()
	:: n == NCPU -> break
	od
}

inline flush() {
	atomic { drained -> entry = false };
	s = clock;
	force(s, false);
	assert(!stale(0) && !stale(1));
#if NCPU > 2
	assert(!stale(2));
#endif
	flushed = true
}

inline destroy() {
	if
	:: atomic { thread[1] == READY -> thread[1] = GONE }
		atomic { if :: stamp[2] < clock -> stamp[2] = clock :: else fi };
		old = 2;
		unref()
	:: else
	fi
}

inline reuse() {
	s = stamp[2]; /* claimed BUSY: nobody can take a reference */
#ifndef NO_AWAIT
	force(s, true);
#endif
	assert(cr3[0] != 2 && cr3[1] != 2);
#if NCPU > 2
	assert(cr3[2] != 2);
#endif
	reused = true
}

proctype Cpu(byte c) {
	byte e, s, n, old, t;
schedule:
	atomic { e = 0; s = 0; n = 0; old = 0; t = 0 };
	if
	:: atomic { thread[0] == READY && drained -> thread[0] = RUNNING; t = 0 } /* [root 10] CAS */
	:: atomic { thread[1] == READY && drained -> thread[1] = RUNNING; t = 1 }
	:: atomic { moves > 0 -> moves-- } goto idle
	:: atomic { moves == 0 && thread[0] != READY && thread[1] != READY } goto idle
	fi;
	if
	:: cr3[c] != t + 1 -> load_root(t + 1)
	:: else
	fi;
user_mode:
	atomic { e = 0; s = 0; n = 0; old = 0; in_user[c] = true; assert(!flushed || !stale(c)) };
end:	if
	:: atomic { ipi[c] -> ipi[c] = false; in_user[c] = false }
		serve_flush()
#ifdef TICKS
	:: atomic { epoch[c] < clock -> in_user[c] = false }
		serve_flush()
#endif
	:: atomic { moves > 0 -> moves--; in_user[c] = false }
		thread[t] = READY;                                   /* [root 11] from here on any CPU may run it */
		goto schedule
	:: atomic { c == 0 && !flushed -> in_user[c] = false }
		flush()
	:: atomic { c == 0 && thread[1] == READY -> in_user[c] = false }
		destroy()
	:: atomic { c == 0 && thread[1] == GONE && refs[2] == 0 && !reused -> in_user[c] = false }
		reuse()
	fi;
	goto user_mode;
idle:
	load_root(0);
	epoch[c] = INF;
end_halt:
	if
	:: ipi[c] -> ipi[c] = false; e = clock; atomic { drained -> epoch[c] = e }; serve_flush(); goto schedule
	:: thread[0] == READY || thread[1] == READY -> goto schedule
	fi
}

init {
	atomic {
		byte i;
		refs[0] = 0;
		for (i : 0 .. NCPU - 1) { run Cpu(i) }
	}
}
