//! The private node that the other tests stand on.

use quebert_broker_adapter::testing::PrivateRabbit;

#[tokio::test]
async fn a_killed_node_comes_back_with_its_data_and_leaves_nothing_behind() {
    let rabbit = PrivateRabbit::start().await.unwrap();
    rabbit.add_vhost("kept").await.unwrap();
    rabbit.kill();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", rabbit.port())).await.is_err(), "killed");
    rabbit.restart().await.unwrap();
    assert!(rabbit.ctl(&["list_vhosts"]).await.unwrap().contains("kept"));
    let pid = rabbit.pid().unwrap();
    drop(rabbit);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "dropped means gone");
}
