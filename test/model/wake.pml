/*
 * wake.pml - no wake-up is lost, between a ring and a sleeper and between whoever makes a thread READY and a CPU that
 * is about to halt. Read it beside schedule, wake, leave and cpu_slice in src/kern/sched.c, thread_ring and
 * thread_switch in thread.c.
 *
 * Proved: when nothing can happen any more, thread T sleeps and no bell that it waits for is set (assertion at the end);
 * so it never stays READY in the vector of a CPU that has halted, nor asleep with its bell rung. Nobody is stuck.
 *
 * The machine: CPUs 0 and 1 schedule only T; it is in the vector of CPU 1. T runs, is preempted now and then, and
 * sleeps until its bell rings. A third CPU rings it RINGS times. CPU 0 may be handed T by directed yield (GIFTS times): T
 * then runs away from its home. With -DMOVE yet another CPU puts T into CPU 0's vector, and then takes it out of CPU 1's;
 * with -DLOSE it is in both from the beginning, CPU 1 its home, and taken out of CPU 1's.
 * Plain stores to idle flags, and T's state in one mistake, become visible late (`state_buffer`, `idle_buffer`); LOCKed instructions
 * wait for that. An interrupt that arrives before the halt ends it (sti; hlt).
 * Left out: deadlines, unmasked bells, a thread's own reference. Bounds: RINGS, GIFTS, PREEMPTIONS.
 */
#ifndef RINGS
#define RINGS 2
#endif
#ifndef GIFTS
#define GIFTS 1
#endif
#ifndef PREEMPTIONS
#define PREEMPTIONS 1
#endif
mtype = { NONE, READY, RUNNING, SLEEPING };

mtype state = READY;
byte home = 1;
bool bell, waits;
bool in_vector[2], known[2], idle[2], ipi[2]; /* known: T's record says that it is in the vector */
mtype state_buffer[3] = NONE;
byte idle_buffer[3] = 2; /* 2: nothing */
byte gifts = GIFTS, preemptions = PREEMPTIONS;

active proctype Hardware() {
end:	do
	:: atomic { state_buffer[0] != NONE -> state = state_buffer[0]; state_buffer[0] = NONE }
	:: atomic { state_buffer[1] != NONE -> state = state_buffer[1]; state_buffer[1] = NONE }
	:: atomic { idle_buffer[0] != 2 -> idle[0] = idle_buffer[0]; idle_buffer[0] = 2 }
	:: atomic { idle_buffer[1] != 2 -> idle[1] = idle_buffer[1]; idle_buffer[1] = 2 }
	od
}
#define drained(c) (state_buffer[c] == NONE && idle_buffer[c] == 2)

inline wake(cpu) {
	if
	:: idle[cpu] ->                                              /* [wake 1] after the LOCKed store of READY */
		atomic { if :: idle[cpu] -> idle[cpu] = false; ipi[cpu] = true :: else fi } /* [wake 2] */
	:: else
	fi
}

/* The CPU that has T in its vector: its home, or, once its home has lost it, the other. */
inline wake_for() {
	h = home;
#ifndef NO_SEARCH
	if
	:: known[h] -> wake(h)                                       /* [wake 6] */
	:: else ->
		if
		:: known[1 - h] ->                                   /* [wake 19] */
			atomic { drained(c) -> if :: home == h -> home = 1 - h :: else fi }
			wake(1 - h)                                  /* even if it has another home, which may have lost it, too */
		:: else
		fi
	fi;
#else
	wake(h);
#endif
	h = 0
}

/* thread_ring: by another CPU, or by the sleeper itself after it has left. */
inline look() {
	if
	:: bell ->
		if
		:: state == SLEEPING || state_buffer[c] == SLEEPING -> /* [wake 3] then the mask, written before the state was */
#ifdef WAKE_FIRST
			wake_for();
#endif
			atomic { drained(c) -> if :: state == SLEEPING && waits -> state = READY; won = true :: else fi } /* [wake 4] */
		:: else
		fi;
#ifndef WAKE_FIRST
		if
		:: won -> wake_for()
		:: else
		fi;
#endif
		won = false
	:: else
	fi
}

/* T leaves CPU c. */
inline leave(s) {
#ifdef SLICE_EARLY
	mine = in_vector[c];
#endif
#ifdef NO_LOCK
	state_buffer[c] = s;
#else
	atomic { drained(c) -> state = s };                          /* [wake 5] exchange: visible before any later load */
#endif
#ifndef SLICE_EARLY
	mine = in_vector[c];
#endif
#ifndef NO_LEAVE_WAKE
	if
	:: s == READY && !mine -> wake_for()                         /* [wake 7] it ran here by a gift */
	:: else
	fi;
#endif
	mine = false
}

/* Who made T READY may have seen an earlier sleep: it sleeps on. */
inline put_back() {
	if
	:: found && waits && !bell ->                                /* [wake 17] */
		found = false;
		atomic { drained(c) -> state = SLEEPING };           /* [wake 18] exchange */
		look()                                               /* those who rang meanwhile found no sleeper */
	:: else
	fi
}

inline walk() {
	if
	:: in_vector[c] && (state == READY || state_buffer[c] == READY) -> /* [wake 8] */
		atomic { drained(c) -> if :: state == READY -> state = RUNNING; found = true :: else fi };
		put_back()
	:: else
	fi
}

proctype Cpu(byte c) {
	byte h;
	bool won, found, mine;
schedule:
	atomic { h = 0; found = false };
#ifdef FLAG_LATE
	walk();
	if
	:: found -> goto dispatched
	:: else
	fi;
	atomic { drained(c) -> idle[c] = true };
#else
	atomic { drained(c) -> idle[c] = true };                     /* [wake 9] exchange: say so first, then look */
	walk();
	if
	:: found -> goto dispatched
	:: else
	fi;
#endif
end_halt:
	if
	:: ipi[c] -> ipi[c] = false                                  /* [wake 10] */
	:: atomic { gifts > 0 && c == 0 && state == READY -> gifts--; state = RUNNING; found = true } /* its own thread's gift */
		put_back();
		if
		:: found -> goto dispatched
		:: else
		fi
	fi;
	idle_buffer[c] = 0;                                          /* [wake 11] plain: the exchange comes before the halt */
	goto schedule;
dispatched:
	found = false;
	idle_buffer[c] == 2 -> idle_buffer[c] = 0;
	if
	:: waits -> atomic { drained(c) -> bell = false }; waits = false /* it slept: takes what it waited for */
	:: else
	fi;
awake:	if
	:: atomic { preemptions > 0 -> preemptions-- } leave(READY)
	:: skip
		if
		:: bell -> atomic { drained(c) -> bell = false }; goto awake
		:: else
		fi;
		waits = true;                                        /* [wake 12] before it sleeps */
		leave(SLEEPING);
		look()                                               /* [wake 13] bits that came before */
	fi;
	goto schedule
}

proctype Ringer(byte c) {
	byte n, h;
	bool won;
	do
	:: n < RINGS -> n++;
		bell = true;                                         /* [wake 14] LOCKed or */
		look()
	:: n == RINGS -> break
	od
}

proctype Mover(byte c) {
	byte h;
#ifdef MOVE
	in_vector[0] = true;                                         /* [wake 15] CAS */
	known[0] = true;                                             /* [wake 21] LOCKed, as the next */
	home = 0;                                                    /* [wake 16] LOCKed: before the idle flag is read */
	wake(0);
#endif
	in_vector[1] = false;
#ifndef KNOWN_LATE
	known[1] = false;
#endif
#ifndef NO_REMOVE_WAKE
	wake_for()                                                   /* [wake 20] it may be READY, and CPU 1 woken in vain */
#endif
#ifdef KNOWN_LATE
	known[1] = false
#endif
}

init {
	atomic {
		in_vector[1] = true;
		known[1] = true;
		run Cpu(0);
		run Cpu(1);
		run Ringer(2);
#ifdef LOSE
		in_vector[0] = true;
		known[0] = true;
#endif
#if defined(MOVE) || defined(LOSE)
		run Mover(2)
#endif
	}
end:	timeout;
	assert(state == SLEEPING && !bell)
}
