//! What happens, and which alerts it sets off. Each scenario has neighbours for whom all is well, and nothing fires for them.

use crate::scenario::Scenario;

const J: (&str, &str) = ("job", "quebert");
const A: (&str, &str) = ("instance", "a:9464");

pub(crate) fn all() -> Vec<Scenario> {
    [objectives(), away(), queues(), tasks(), inside()].into_iter().flatten().collect()
}

fn objectives() -> Vec<Scenario> {
    let queue = ("queue", "mail");
    vec![
        // 20 of 320 fail from minute 60 on. The longer window has only 85 minutes of data.
        Scenario::new("QuebertDeliveryBudgetBurn", "burns fast")
            .series(r#"quebert_settlements_total{I,queue="mail",result="succeeded"}"#, "0+300x120")
            .series(r#"quebert_settlements_total{I,queue="mail",result="dead_lettered"}"#, "0x60 20+20x30 600x60")
            .series(r#"quebert_settlements_total{I,queue="calm",result="succeeded"}"#, "0+300x120")
            .series(r#"quebert_settlements_total{I,queue="calm",result="expired"}"#, "0x120")
            .silent(59)
            .silent(74)
            .fires(85, &[J, queue, ("long", "1h")], "2.703%")
            .fires(85, &[J, queue, ("long", "6h")], "1.923%"),
        // 4 in 1000: too slow to wake somebody.
        Scenario::new("QuebertDeliveryBudgetBurn", "burns slowly")
            .series(r#"quebert_settlements_total{I,queue="mail",result="succeeded"}"#, "0+996x240")
            .series(r#"quebert_settlements_total{I,queue="mail",result="expired"}"#, "0+4x240")
            .silent(59)
            .fires(70, &[J, queue, ("long", "1d")], "0.4%")
            .fires(200, &[J, queue, ("long", "1d")], "0.4%")
            .fires(200, &[J, queue, ("long", "3d")], "0.4%"),
        // Half of six tasks an hour: the share is large, and means little.
        Scenario::new("QuebertDeliveryBudgetBurn", "has little to do")
            .series(r#"quebert_settlements_total{I,queue="mail",result="succeeded"}"#, "0+0.05x240")
            .series(r#"quebert_settlements_total{I,queue="mail",result="dead_lettered"}"#, "0+0.05x240")
            .silent(120)
            .silent(240),
        // Prometheus 2 says le="5", Prometheus 3 le="5.0"; half of the tasks are late from minute 60 on.
        Scenario::new("QuebertWaitBudgetBurn", "burns fast in both spellings")
            .series(r#"quebert_task_wait_seconds_bucket{I,queue="mail",le="5"}"#, "0+300x60 18150+150x60")
            .series(r#"quebert_task_wait_seconds_count{I,queue="mail"}"#, "0+300x120")
            .series(r#"quebert_settlements_total{I,queue="mail",result="succeeded"}"#, "0+300x120")
            .series(r#"quebert_task_wait_seconds_bucket{I,queue="post",le="5.0"}"#, "0+300x60 18150+150x60")
            .series(r#"quebert_task_wait_seconds_count{I,queue="post"}"#, "0+300x120")
            .series(r#"quebert_settlements_total{I,queue="post",result="succeeded"}"#, "0+300x120")
            .series(r#"quebert_task_wait_seconds_bucket{I,queue="calm",le="5"}"#, "0+300x120")
            .series(r#"quebert_task_wait_seconds_count{I,queue="calm"}"#, "0+300x120")
            .series(r#"quebert_settlements_total{I,queue="calm",result="succeeded"}"#, "0+300x120")
            .silent(59)
            .silent(75)
            .fires(90, &[J, queue, ("long", "1h")], "25%")
            .fires(90, &[J, queue, ("long", "6h")], "16.67%")
            .fires(90, &[J, ("queue", "post"), ("long", "1h")], "25%")
            .fires(90, &[J, ("queue", "post"), ("long", "6h")], "16.67%"),
        Scenario::new("QuebertWaitBudgetBurn", "burns slowly")
            .series(r#"quebert_task_wait_seconds_bucket{I,queue="mail",le="5"}"#, "0+960x240")
            .series(r#"quebert_task_wait_seconds_count{I,queue="mail"}"#, "0+1000x240")
            .series(r#"quebert_settlements_total{I,queue="mail",result="succeeded"}"#, "0+1000x240")
            .silent(59)
            .fires(70, &[J, queue, ("long", "1d")], "4%")
            .fires(200, &[J, queue, ("long", "1d")], "4%")
            .fires(200, &[J, queue, ("long", "3d")], "4%"),
    ]
}

fn away() -> Vec<Scenario> {
    vec![
        Scenario::new("QuebertDown", "one of two stops answering")
            .series(r#"up{J,instance="b:9464"}"#, "1x10 0x20")
            .series(r#"up{job="other",instance="c:80"}"#, "0x30")
            .silent(11)
            .fires(14, &[J, ("instance", "b:9464")], "0"),
        Scenario::new("QuebertAbsent", "there is no target").nobody().silent(4).fires(6, &[], "1"),
        Scenario::new("QuebertRestarting", "is started three times")
            .series("process_start_time_seconds{I}", "100x10 200x2 300x2 400x20")
            .series(r#"process_start_time_seconds{J,instance="b:9464"}"#, "100x10 200x2 300x30")
            .silent(14)
            .fires(18, &[J, A], "3")
            .silent(33),
        Scenario::new("QuebertBrokerDisconnected", "loses its broker")
            .series("quebert_broker_connected{I}", "1x10 0x20")
            .series(r#"quebert_broker_connected{J,instance="b:9464"}"#, "1x30")
            .silent(11)
            .fires(13, &[J, A], "0"),
        Scenario::new("QuebertBrokerBlocked", "is blocked")
            .series("quebert_broker_blocked{I}", "0x10 1x20")
            .series(r#"quebert_broker_blocked{J,instance="b:9464"}"#, "0x12 1x2 0x20")
            .silent(15)
            .fires(17, &[J, A], "1"),
    ]
}

fn queues() -> Vec<Scenario> {
    let queue = ("queue", "mail");
    vec![
        // Nothing is settled in three queues: one has work, one has none, one had just finished.
        Scenario::new("QuebertQueueStalled", "stands still with work to do")
            .series(r#"quebert_queue_ready_messages{I,queue="mail"}"#, "0x10 7x40")
            .series(r#"quebert_settlements_total{I,queue="mail",result="succeeded"}"#, "0+10x10 100x40")
            .series(r#"quebert_queue_ready_messages{I,queue="empty"}"#, "0x50")
            .series(r#"quebert_settlements_total{I,queue="empty",result="succeeded"}"#, "100x50")
            .series(r#"quebert_queue_ready_messages{I,queue="busy"}"#, "7x50")
            .series(r#"quebert_settlements_total{I,queue="busy",result="succeeded"}"#, "0+10x50")
            .silent(18)
            .fires(23, &[J, queue], "7"),
        Scenario::new("QuebertNoConsumers", "nobody takes")
            .series(r#"quebert_queue_consumers{I,queue="mail"}"#, "1x10 0x20")
            .series(r#"quebert_queue_consumers{J,instance="b:9464",queue="mail"}"#, "1x11 0x20")
            .series(r#"quebert_queue_consumers{I,queue="calm"}"#, "1x30")
            .series("quebert_broker_connected{I}", "1x30")
            .series(r#"quebert_broker_connected{J,instance="b:9464"}"#, "1x30")
            .silent(13)
            .fires(15, &[J, queue], "0"),
        // What was heard last is not what is so.
        Scenario::new("QuebertNoConsumers", "is not known without a broker")
            .series(r#"quebert_queue_consumers{I,queue="mail"}"#, "0x30")
            .series("quebert_broker_connected{I}", "1x1 0x30")
            .silent(2)
            .elsewhere(15, "QuebertBrokerDisconnected", 1),
        Scenario::new("QuebertQueueNotOpen", "one dispatcher does not take")
            .series(r#"quebert_queue_open{I,queue="mail"}"#, "1x10 0x40")
            .series(r#"quebert_queue_open{J,instance="b:9464",queue="mail"}"#, "1x50")
            .series("quebert_broker_connected{I}", "1x50")
            .series(r#"quebert_broker_connected{J,instance="b:9464"}"#, "1x50")
            .silent(25)
            .fires(27, &[J, A, queue], "0"),
        Scenario::new("QuebertQueueNotOpen", "has no broker")
            .series(r#"quebert_queue_open{I,queue="mail"}"#, "1x10 0x40")
            .series("quebert_broker_connected{I}", "1x10 0x40")
            .silent(10)
            .elsewhere(40, "QuebertBrokerDisconnected", 1),
        // 2000 at one a second; the neighbour has 500.
        Scenario::new("QuebertBacklogSlowToDrain", "takes half an hour")
            .series(r#"quebert_queue_ready_messages{I,queue="mail"}"#, "0x10 2000x60")
            .series(r#"quebert_settlements_total{I,queue="mail",result="succeeded"}"#, "0+60x70")
            .series(r#"quebert_settlements_total{I,queue="mail",result="retried"}"#, "0+600x70")
            .series(r#"quebert_queue_ready_messages{I,queue="calm"}"#, "500x70")
            .series(r#"quebert_settlements_total{I,queue="calm",result="succeeded"}"#, "0+60x70")
            // Heard long ago.
            .series(r#"quebert_queue_ready_messages{J,instance="b:9464",queue="mail"}"#, "9000x70")
            .series(r#"quebert_broker_connected{J,instance="b:9464"}"#, "0x70")
            .silent(20)
            .with("QuebertBrokerDisconnected", 1)
            .fires(23, &[J, queue], "33m 20s")
            .with("QuebertBrokerDisconnected", 1),
        Scenario::new("QuebertSaturated", "has no free slots and a backlog")
            .series(r#"quebert_tasks_in_flight{I,queue="mail"}"#, "16x60")
            .series(r#"quebert_queue_concurrency_limit{I,queue="mail"}"#, "16x60")
            .series(r#"quebert_queue_ready_messages{I,queue="mail"}"#, "3x60")
            .series(r#"quebert_tasks_in_flight{I,queue="busy"}"#, "16x60")
            .series(r#"quebert_queue_concurrency_limit{I,queue="busy"}"#, "16x60")
            .series(r#"quebert_queue_ready_messages{I,queue="busy"}"#, "0x60")
            .silent(14)
            .fires(18, &[J, queue], "100%"),
    ]
}

fn tasks() -> Vec<Scenario> {
    let queue = ("queue", "mail");
    let dead = ("destination", "https://dead.example:443");
    vec![
        Scenario::new("QuebertDestinationFailing", "fails three times of four")
            .series(r#"quebert_dispatch_attempts_total{I,queue="mail",destination="https://dead.example:443",outcome="5xx"}"#, "0+30x60")
            .series(r#"quebert_dispatch_attempts_total{I,queue="mail",destination="https://dead.example:443",outcome="2xx"}"#, "0+10x60")
            .series(r#"quebert_dispatch_attempts_total{I,queue="mail",destination="https://good.example:443",outcome="2xx"}"#, "0+30x60")
            .series(r#"quebert_dispatch_attempts_total{I,queue="mail",destination="https://rare.example:443",outcome="timeout"}"#, "0+1x60")
            .silent(10)
            .fires(13, &[J, dead], "75%"),
        Scenario::new("QuebertCircuitOpen", "one destination is silent")
            .series(r#"quebert_destination_circuit_open{I,destination="https://dead.example:443"}"#, "0x10 1x40")
            .series(r#"quebert_destination_circuit_open{I,destination="https://good.example:443"}"#, "0x10 1x5 0x40")
            .silent(20)
            .fires(22, &[J, dead], "1"),
        Scenario::new("QuebertDeadLetters", "a task is given up")
            .series(r#"quebert_dead_lettered_total{I,queue="mail",reason="permanent"}"#, "0x9 1x40")
            .series(r#"quebert_dead_lettered_total{I,queue="mail",reason="expired"}"#, "5x50")
            .silent(9)
            .fires(15, &[J, queue, ("reason", "permanent")], "1")
            .silent(26),
        Scenario::new("QuebertRetryStorm", "most attempts are in vain")
            .series(r#"quebert_retries_scheduled_total{I,queue="mail",reason="timeout"}"#, "0+40x60")
            .series(r#"quebert_dispatch_attempts_total{I,queue="mail",destination="d",outcome="timeout"}"#, "0+40x60")
            .series(r#"quebert_dispatch_attempts_total{I,queue="mail",destination="e",outcome="2xx"}"#, "0+10x60")
            .series(r#"quebert_retries_scheduled_total{I,queue="calm",reason="5xx"}"#, "0+1x60")
            .series(r#"quebert_retries_scheduled_total{I,queue="calm",reason="overload"}"#, "0+90x60")
            .series(r#"quebert_dispatch_attempts_total{I,queue="calm",destination="e",outcome="2xx"}"#, "0+100x60")
            .silent(9)
            .fires(13, &[J, queue], "80%")
            .with("QuebertDestinationFailing", 1),
        Scenario::new("QuebertPublishNotConfirmed", "the broker refuses")
            .series(r#"quebert_publish_confirms_total{I,purpose="retry",result="nack"}"#, "0x9 3x40")
            .series(r#"quebert_publish_confirms_total{I,purpose="retry",result="ack"}"#, "0+9x50")
            .series(r#"quebert_publish_confirms_total{I,purpose="retry",result="not_connected"}"#, "0x5 1x45")
            .silent(9)
            .fires(12, &[J, A, ("purpose", "retry"), ("result", "nack")], "3")
            .silent(21),
        // One in a thousand is neither settled nor held; the neighbour holds what it has not settled.
        Scenario::new("QuebertAccountingLeak", "one in a thousand is lost track of")
            .series(r#"quebert_deliveries_total{I,queue="mail",redelivered="false"}"#, "0+1000x60")
            .series(r#"quebert_settlements_total{I,queue="mail",result="succeeded"}"#, "0+999x60")
            .series(r#"quebert_tasks_in_flight{I,queue="mail"}"#, "0x60")
            .series(r#"quebert_tasks_buffered{I,queue="mail"}"#, "0x60")
            .series(r#"quebert_deliveries_total{I,queue="busy",redelivered="false"}"#, "500+1000x60")
            .series(r#"quebert_settlements_total{I,queue="busy",result="succeeded"}"#, "0+1000x60")
            .series(r#"quebert_tasks_in_flight{I,queue="busy"}"#, "100x60")
            .series(r#"quebert_tasks_buffered{I,queue="busy"}"#, "400x60")
            .silent(20)
            .fires(22, &[J, A, queue], "22"),
    ]
}

fn inside() -> Vec<Scenario> {
    let queue = ("queue", "mail");
    vec![
        Scenario::new("QuebertScheduleLag", "one in fifty starts late")
            .series(r#"quebert_schedule_lag_seconds_bucket{I,queue="mail",le="5"}"#, "0+98x60")
            .series(r#"quebert_schedule_lag_seconds_bucket{I,queue="mail",le="10"}"#, "0+100x60")
            .series(r#"quebert_schedule_lag_seconds_bucket{I,queue="mail",le="+Inf"}"#, "0+100x60")
            .series(r#"quebert_schedule_lag_seconds_bucket{I,queue="calm",le="5"}"#, "0+100x60")
            .series(r#"quebert_schedule_lag_seconds_bucket{I,queue="calm",le="10"}"#, "0+100x60")
            .series(r#"quebert_schedule_lag_seconds_bucket{I,queue="calm",le="+Inf"}"#, "0+100x60")
            .silent(9)
            .fires(13, &[J, queue], "7.5s"),
        Scenario::new("QuebertRuntimeLag", "timers fire late")
            .series(r#"quebert_runtime_timer_lag_seconds_bucket{I,le="0.1"}"#, "0+90x60")
            .series(r#"quebert_runtime_timer_lag_seconds_bucket{I,le="0.25"}"#, "0+100x60")
            .series(r#"quebert_runtime_timer_lag_seconds_bucket{I,le="+Inf"}"#, "0+100x60")
            .series(r#"quebert_runtime_timer_lag_seconds_bucket{J,instance="b:9464",le="0.1"}"#, "0+100x60")
            .series(r#"quebert_runtime_timer_lag_seconds_bucket{J,instance="b:9464",le="+Inf"}"#, "0+100x60")
            .silent(9)
            .fires(13, &[J, A], "235ms"),
        Scenario::new("QuebertHookErrors", "a mediator fails")
            .series(r#"quebert_hook_errors_total{I,hook="status",phase="before"}"#, "0x9 4x40")
            .series(r#"quebert_hook_errors_total{I,hook="status",phase="after"}"#, "0x50")
            .silent(9)
            .fires(15, &[J, ("hook", "status"), ("phase", "before")], "4")
            .silent(26),
        Scenario::new("QuebertConfigReloadFailed", "a reload fails")
            .series(r#"quebert_config_reloads_total{I,result="error"}"#, "0x9 1x40")
            .series(r#"quebert_config_reloads_total{I,result="ok"}"#, "0+1x50")
            .silent(9)
            .fires(15, &[J, A, ("result", "error")], "1")
            .silent(26),
        Scenario::new("QuebertFilesNearLimit", "runs out of file descriptors")
            .series("process_open_fds{I}", "10x10 900x40")
            .series("process_max_fds{I}", "1000x50")
            .series(r#"process_open_fds{J,instance="b:9464"}"#, "700x50")
            .series(r#"process_max_fds{J,instance="b:9464"}"#, "1000x50")
            .silent(20)
            .fires(22, &[J, A], "90%"),
        Scenario::new("QuebertLabelOverflow", "has too many destinations")
            .series(r#"quebert_metrics_label_overflow_total{I,label="destination"}"#, "0x9 5x90")
            .series(r#"quebert_metrics_label_overflow_total{J,instance="b:9464",label="destination"}"#, "5x90")
            .silent(9)
            .fires(15, &[J, A, ("label", "destination")], "5")
            .silent(75),
    ]
}
