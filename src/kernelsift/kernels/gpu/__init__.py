"""Verification on a GPU, all of it optional: nothing else needs this package to run.

Never run on a real GPU so far: no machine that this was written or tested on has one. What was run
is everything that needs none: the protocol against simulated devices, the whole path with the CPU
in the device's place, and the sandbox with a stand-in device file. `benchmarks/gpu_check.py` is
the first thing to run on a machine with a GPU.

device        which GPU is there, what it can do at best
clock blocks  the child's side of timing: one block of calls between flushes, marks and waits
recipe        inputs and weights from a seed, the same in every process
subject       a candidate or a reference, ready to be called many times
timing_job    the child that is asked for block after block
partner       the parent's side of that talk, with the parent's own clock
schedule      which side is asked for what, in turn
timing        from times to a claim, or to the reasons why there is none; pure
device_job    the child that answers the cases, with guard bands and a log of launches
memcheck      the same under compute-sanitizer
device_verifier  all of it for one candidate
"""
