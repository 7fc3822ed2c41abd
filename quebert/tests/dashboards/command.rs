//! `quebert dashboards` as people type it, without any Prometheus.

use crate::process::{Folder, done};
use std::fs;

#[tokio::test]
async fn export_writes_what_was_asked_for_and_what_the_config_says() {
    let folder = Folder::new("dashboards-export");
    let config = folder.0.join("quebert.toml");
    fs::write(&config, "[lanes.mail]\n[lanes.bulk]\n[topology]\nprefix = \"shop\"\n[metrics]\nslo = [\"7s\"]\n")
        .unwrap();
    let (out, config) = (folder.0.join("a/b"), config.to_str().unwrap());
    let args = ["dashboards", "export", "--config", config, "--slo", "delivery=99.5,wait=7s:95", "--job", "shop-.*"];
    let exported = done(&[&args[..], &["--out", out.to_str().unwrap()]].concat(), "").await;
    assert_eq!(exported.code, Some(0), "{}{}", exported.out, exported.err);
    assert!(exported.out.ends_with("files for bulk, mail, job shop-.*\n"), "{}", exported.out);
    let read = |path: &str| fs::read_to_string(out.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let alerts = read("prometheus/quebert-alerts.yml");
    for part in ["{job=~\"shop-.*\",queue=~\"bulk|mail\"} > 0.072", "more than 7 s", "99.5 %"] {
        assert!(alerts.contains(part), "{part} is missing in {alerts}");
    }
    assert!(read("prometheus/quebert-recording.yml").contains("le=~\"7([.]0)?\""));
    assert!(read("prometheus/prometheusrule.yaml").contains("kind: PrometheusRule"));
    assert!(
        read("grafana/quebert-overview.json").contains("label_values(quebert_build_info{job=~\\\"shop-.*\\\"}, job)")
    );
    assert!(read("grafana/quebert-rabbitmq.json").contains("shop[.](.+)"));
    assert!(read("grafana/quebert-queue.json").contains("/^(bulk|mail)$/"));
    assert!(read("provisioning/dashboards/quebert.yaml").contains("folder: Quebert"));
}

#[tokio::test]
async fn what_cannot_be_made_or_reached_has_an_exit_code_and_words() {
    let unknown = done(&["dashboards", "export", "--slo", "wait=7s:99", "--out", "/dev/null/x"], "").await;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("--slo: `7s`") && unknown.err.contains("metrics.slo"), "{}", unknown.err);
    let unwritable = done(&["dashboards", "export", "--out", "/dev/null/x"], "").await;
    assert_eq!(unwritable.code, Some(4), "{}", unwritable.err);
    assert!(unwritable.err.contains("/dev/null/x/grafana"), "{}", unwritable.err);
    let away = done(&["dashboards", "check", "--prometheus", "http://127.0.0.1:9"], "").await;
    assert_eq!(away.code, Some(3), "{}", away.err);
    assert!(away.err.contains("no Prometheus could be reached"), "{}", away.err);
    assert_eq!(done(&["dashboards", "check", "--prometheus", "ftp://x"], "").await.code, Some(2));
    assert_eq!(done(&["dashboards", "check"], "").await.code, Some(2));
}
