//! The tester tested: does it see what it is there to see? A fake broker and dispatcher, which can be told to go wrong, run
//! under the real publisher, executors' model and ledger, in virtual time: no socket, no process, no machine's mood.

mod fake;
mod freeze;
mod mutants;
mod queueing;
