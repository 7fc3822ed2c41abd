//! proptest strategies for workloads and fault schedules.
