//! What only the fast world promises.

use super::*;
use crate::net::SegmentKind;

#[test]
fn every_segment_is_logged_with_its_arrival_or_its_loss() {
    let (scene, log) = Scene::new(ms(1000))
        .at(500, |world| world.link(ONE, OTHER, cut_both()))
        .host(OTHER, echo)
        .host(ONE, |net: Net| async move {
            let mut stream = net.connect(OTHER, 80).await.unwrap();
            ping(&mut stream).await.unwrap();
            sleep(ms(600)).await;
            stream.write_all(b"lost").await.unwrap();
            pending::<()>().await;
        })
        .log();
    let ran = scene.run(Kind::Fast);
    let all = log.lock().unwrap();
    assert_eq!(ran.segments, all.len() as u64);
    let kinds = all.iter().map(|segment| (segment.from, segment.what.clone())).collect::<Vec<_>>();
    let data = |bytes: &'static str| SegmentKind::Data(bytes.into());
    assert_eq!(kinds, [(ONE, SegmentKind::Syn), (ONE, data("ping")), (OTHER, data("ping")), (ONE, data("lost"))]);
    for segment in &all[..3] {
        let took = segment.arrives.expect("there was no fault yet") - segment.at;
        assert!((ms(1)..=ms(3)).contains(&took), "{segment:?}");
    }
    assert_eq!(all[3].arrives, None);
}
