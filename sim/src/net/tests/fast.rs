//! What only the fast world promises.

use super::*;

#[test]
fn a_ping_is_answered_within_two_latencies() {
    let notes = Notes::default();
    let asked = notes.clone();
    let ran = Scene::new(ms(1000))
        .host(OTHER, |net: Net| async move {
            let mut listener = net.bind(80).await.unwrap();
            loop {
                let (mut stream, from) = listener.accept().await.unwrap();
                assert_eq!(from, ONE);
                let mut buf = [0; 4];
                while stream.read_exact(&mut buf).await.is_ok() {
                    stream.write_all(&buf).await.unwrap();
                }
            }
        })
        .host(ONE, move |net: Net| {
            let notes = asked.clone();
            async move {
                let mut stream = net.connect(OTHER, 80).await.unwrap();
                notes.add(&net, "connected");
                stream.write_all(b"ping").await.unwrap();
                let mut buf = [0; 4];
                stream.read_exact(&mut buf).await.unwrap();
                notes.add(&net, "ponged");
            }
        })
        .run(Kind::Fast);
    assert_eq!(ran.end, ms(1000));
    assert_eq!(ran.panics, []);
    let (connected, ponged) = (notes.when("connected"), notes.when("ponged"));
    assert!((2..=6).contains(&connected), "{connected}");
    assert!((2..=6).contains(&(ponged - connected)), "{ponged}");
    assert_eq!(ran.segments, 5, "SYN, ping, pong, and two FINs");
}
