//! The queue core: what a broker does, as a state machine. No I/O and no clock of its own; the embedded broker gives it a
//! disk, the simulation gives it faults.
