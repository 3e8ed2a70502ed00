/*
 * epoch.pml - no frame is reused before every CPU has dropped its translations to it, and nobody waits for ever.
 * Read it beside src/kern/epoch.c: [epoch N] stands at the same step in both.
 *
 * Proved: when the claimer of frame F has waited, no CPU's TLB holds F (assertion at [epoch 20]); a claim that is
 * refused leaves nothing BUSY; a slice forces no more flushes than its budget; nobody is stuck (no invalid end state).
 * The waits don't lean on the timer: ticks are bounded here, and may never come.
 *
 * The machine: NCPU CPUs, in user mode, in the kernel (interrupts off) or halted. F is mapped in two slots of an address
 * space that all of them run. Hardware() fills TLBs whenever the CPU has a user root, also while it is in the kernel,
 * and lets plain stores become visible late (x86-TSO): `buffer` is a CPU's store buffer for its epoch, and LOCKed
 * instructions and CR3 loads, which are serializing, are executable only when it is empty.
 *   CPU 0 unmaps slot 0 and claims F. CPU 1 unmaps slot 1 - first maps it anew with -DREMAP - and claims G, which
 *   was unmapped just before: two that wait for each other. The last CPU comes up late, or never. EVENTS times some CPU
 *   takes a tick, or goes idle and is woken, at any moment.
 * Left out: which frames a root is made of and the loaded root's own reference (root.pml), the ticket lock
 * (lock.pml). A CAS loop that only raises a word is one step. Bounds: NCPU, EVENTS, BUDGET; the clock is bounded by them.
 */
#ifndef NCPU
#define NCPU 2
#endif
#ifndef EVENTS
#define EVENTS 1
#endif
#ifndef BUDGET
#define BUDGET 1
#endif
#ifdef NO_BUFFER /* a plain store is visible at once */
#define store_epoch(v) epoch[c] = v
#else
#define store_epoch(v) atomic { buffer[c] == 0 -> buffer[c] = v }
#endif
#define LATE (NCPU - 1)
#define INF 255

byte clock = 2;
byte epoch[NCPU] = 2, buffer[NCPU]; /* visible; stored but not yet visible (0: nothing) */
bool request[NCPU], ipi[NCPU];
byte budget[NCPU] = BUDGET, events = EVENTS;
#ifdef BORN_RUNNING
byte ncpus = NCPU;
#else
byte ncpus = LATE;
#endif

bool user[NCPU], tlb[NCPU]; /* CR3 holds the user root; the TLB holds F */
bool slot[2] = true, late_clear[2]; /* present entries that name F */
byte refs = 2, stamp = 1;
bool busy, remapped, done_f, done_g;

#define own_epoch (buffer[c] -> buffer[c] : epoch[c])
#define drained (buffer[c] == 0 && !(c < 2 && late_clear[c]))
#ifdef GE /* a stamp equal to the epoch is taken for old enough */
#define is_past(e, s) ((e) >= (s))
#else
#define is_past(e, s) ((e) > (s))
#endif

active proctype Hardware() {
	byte c;
end:	do
	:: atomic { user[0] && !tlb[0] && (slot[0] || slot[1]) -> tlb[0] = true }
	:: atomic { user[1] && !tlb[1] && (slot[0] || slot[1]) -> tlb[1] = true }
	:: atomic { buffer[0] -> epoch[0] = buffer[0]; buffer[0] = 0 }
	:: atomic { buffer[1] -> epoch[1] = buffer[1]; buffer[1] = 0 }
#if NCPU > 2
	:: atomic { user[2] && !tlb[2] && (slot[0] || slot[1]) -> tlb[2] = true }
	:: atomic { buffer[2] -> epoch[2] = buffer[2]; buffer[2] = 0 }
#endif
#ifdef PLAIN_PTE
	:: atomic { late_clear[0] -> slot[0] = false; late_clear[0] = false }
	:: atomic { late_clear[1] -> slot[1] = false; late_clear[1] = false }
#endif
	od
}

inline leave_idle() {
	if
	:: own_epoch == INF ->
		e = clock;                                           /* [epoch 1] */
#ifdef LEAVE_PLAIN
		store_epoch(e)
#else
		atomic { drained -> epoch[c] = e }                   /* [epoch 2] exchange: visible before any later load */
#endif
	:: else
	fi
}

inline load_root(root) {
#ifndef LEAVE_LATE
	leave_idle();
#endif
#ifdef CLOCK_AFTER
	atomic { drained -> user[c] = root; tlb[c] = false }
	e = clock;
	store_epoch(e)
#else
	e = clock;                                                   /* [epoch 3] the clock before the load */
#ifdef PUBLISH_EARLY
	atomic { drained -> epoch[c] = e }
	atomic { user[c] = root; tlb[c] = false }
#else
	atomic { drained -> user[c] = root; tlb[c] = false }         /* [epoch 4] mov cr3 */
	store_epoch(e)                   /* [epoch 5] the epoch after it: a plain store */
#endif
#endif
}

inline serve_flush() {
#ifdef REQUEST_LATE
	load_root(user[c]);
	atomic { drained -> request[c] = false }
#else
	atomic { drained -> request[c] = false }                     /* [epoch 6] first: a later request is served again */
	load_root(user[c])
#endif
}

inline tick() {
	atomic { drained -> if :: clock == epoch[c] -> clock++ :: else fi } /* [epoch 7] */
	budget[c] = BUDGET;
	serve_flush()
}

/* Slot i no longer names F. */
inline drop(i) {
#ifdef STAMP_EARLY
	s = clock;
	atomic { drained -> slot[i] = false }
#elif defined(PLAIN_PTE)
	late_clear[i] = true;
	s = clock;
#else
	atomic { drained -> slot[i] = false }                        /* [epoch 8] LOCKed exchange */
	s = clock;                                                   /* [epoch 9] */
#endif
#ifdef REF_EARLY
	refs--;
#endif
#ifdef STAMP_NO_MAX
	stamp = s;
#else
	atomic { if :: stamp < s -> stamp = s :: else fi }           /* [epoch 10] never back */
#endif
#ifndef REF_EARLY
	atomic { drained -> refs-- }                                 /* [epoch 11] strictly last */
#endif
}

/* All epochs past s? */
inline quiet(s) {
	n = 0;
	do
	:: n < ncpus && is_past(epoch[n], s) -> n++                  /* [epoch 12] */
	:: else -> break
	od
}

inline force(s) {
	assert(budget[c] > 0);
	budget[c]--;
#ifndef NO_ADVANCE
	atomic { drained -> if :: clock == s -> clock++ :: else fi } /* [epoch 13] */
#endif
#ifndef NO_OWN_FLUSH
	serve_flush();
#endif
	n = 0;
	do
	:: n < ncpus && n != c && !is_past(epoch[n], s) ->           /* [epoch 14] */
		atomic { drained -> ipi[n] = ipi[n] || !request[n]; request[n] = true; n++ } /* [epoch 15] */
	:: n < ncpus && (n == c || is_past(epoch[n], s)) -> n++
	:: n == ncpus -> break
	od;
	n = 0;
	do
	:: n < ncpus && is_past(epoch[n], s) -> n++                  /* [epoch 16] */
#ifndef NO_SELF_SERVICE
	:: n < ncpus && request[c] -> serve_flush()                  /* [epoch 17] two that wait serve each other */
#endif
	:: n == ncpus -> break
	od
}

/* Claim F if it has no reference: the calls frame_alloc, frame_retype. */
inline claim_f() {
#ifdef NO_BUSY
	refs == 0;
#else
	atomic {
		drained;
		if
		:: refs == 0 && !busy -> busy = true                 /* [epoch 18] CAS {refs 0} -> BUSY */
		:: else -> goto user_mode
		fi
	}
#endif
	s = stamp;
	quiet(s);
	if
	:: n < ncpus && budget[c] == 0 ->
#ifndef STAY_BUSY
		busy = false                                         /* [epoch 19] unclaimed: -EAGAIN */
#endif
	:: else ->
		if
		:: n < ncpus -> force(s)
		:: else
		fi;
#ifdef NO_BUSY
		atomic { if :: refs == 0 -> busy = true :: else -> goto user_mode fi }
#endif
		assert(!tlb[0] && !tlb[1]);                          /* [epoch 20] from here on the frame is something else */
#if NCPU > 2
		assert(!tlb[2]);
#endif
		done_f = true;
		busy = false
	fi
}

inline claim_g() {
	quiet(2);
	if
	:: n < ncpus && budget[c] > 0 -> force(2)
	:: else
	fi;
	done_g = true
}

inline idle() {
#ifdef INF_EARLY
	atomic { drained -> epoch[c] = INF };
	atomic { user[c] = false; tlb[c] = false };
#else
	load_root(false);
	store_epoch(INF);                /* [epoch 21] then halt; nobody interrupts it to flush */
#endif
end_halt:
	if
	:: ipi[c] -> ipi[c] = false; leave_idle(); serve_flush()     /* [epoch 22] any interrupt: out of INF first */
	:: atomic { events > 0 -> events-- } leave_idle()
	fi;
#ifdef LEAVE_LATE
	e = clock;
	atomic { drained -> user[c] = true; tlb[c] = false };
	store_epoch(e)
#else
	load_root(true)
#endif
}

proctype Cpu(byte c) {
	byte e, s, n;
	if
	:: c == LATE -> /* starts with the epoch of the idle */
end_off:	atomic { events > 0 -> events-- } /* may also stay off: then nobody waits for it */
#ifndef COUNT_LATE
		ncpus = NCPU;                                        /* [epoch 23] counted before it has an epoch to wait for */
#endif
		load_root(true);
#ifdef COUNT_LATE
		ncpus = NCPU
#endif
	:: else
	fi;
user_mode:
	atomic { e = 0; s = 0; n = 0; assert(c != 0 || !busy) };
end:	if
	:: ipi[c] -> ipi[c] = false; serve_flush()
	:: atomic { events > 0 -> events-- } tick()
	:: atomic { events > 0 -> events-- } idle()
	:: c < 2 && slot[c] && !late_clear[c] -> drop(c)
#ifdef REMAP
	:: c == 1 && !slot[1] && !remapped && !late_clear[1] ->
		if
		:: atomic { drained && !busy && !done_f -> refs++; remapped = true }
			slot[1] = true
		:: atomic { busy || done_f -> remapped = true }
		fi
#endif
	:: c == 0 && refs == 0 && !done_f && !busy && (budget[0] > 0 || events == 0) ->
		claim_f();
		if
		:: !done_f && events == 0 -> done_f = true /* refused, and no more ticks to come: gives up */
		:: else
		fi
#ifdef TWO
	:: c == 1 && !done_g -> claim_g()
#endif
	fi;
	goto user_mode
}

init {
	atomic {
		byte i;
		for (i : 0 .. NCPU - 1) {
			user[i] = (i != LATE);
			if
#ifndef BORN_RUNNING
			:: i == LATE -> epoch[i] = INF
#endif
			:: else
			fi;
			run Cpu(i)
		}
	}
}
