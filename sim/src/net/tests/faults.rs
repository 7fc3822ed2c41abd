//! Faults of links.

use super::*;

/// Both ends of a connection, each as its program: the other one's first.
fn pair<F, G>(kind: Kind, scene: Scene, other: fn(Net, Stream, Notes) -> F, one: fn(Net, Stream, Notes) -> G) -> Notes
where
    F: Future<Output = ()> + Send + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    let notes = Notes::default();
    let (others, ones) = (notes.clone(), notes.clone());
    let ran = scene
        .host(OTHER, move |net: Net| {
            let notes = others.clone();
            async move {
                let mut listener = net.bind(80).await.unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                other(net, stream, notes).await;
                pending::<()>().await;
            }
        })
        .host(ONE, move |net: Net| {
            let notes = ones.clone();
            async move {
                let stream = net.connect(OTHER, 80).await.unwrap();
                one(net, stream, notes).await;
                pending::<()>().await;
            }
        })
        .run(kind);
    assert_eq!(ran.panics, []);
    notes
}

/// Notes whatever comes.
async fn note_all(net: Net, mut stream: Stream, notes: Notes) {
    loop {
        let text = read(&mut stream).await;
        let over = text == "end" || text == "ConnectionReset";
        notes.add(&net, text);
        if over {
            return;
        }
    }
}

both! {
    a_connection_that_is_idle_in_a_cut_outlives_it(kind) {
        let scene = Scene::new(ms(5000))
            .at(500, |world| world.link(ONE, OTHER, cut_both()))
            .at(1500, |world| world.link(ONE, OTHER, Link::default()));
        let notes = pair(
            kind,
            scene,
            |_, stream, _| echo_one(stream),
            |net, mut stream, notes| async move {
                ping(&mut stream).await.unwrap();
                sleep(ms(2000)).await;
                ping(&mut stream).await.unwrap();
                notes.add(&net, "ponged");
            },
        );
        notes.when("ponged");
    }

    a_cut_one_way_leaves_the_other(kind) {
        // From one to the other, named the other way round.
        let cut = Link { cut_from: true, ..Link::default() };
        let scene = Scene::new(ms(5000)).at(500, move |world| world.link(OTHER, ONE, cut));
        let notes = pair(
            kind,
            scene,
            |net, mut stream, notes| async move {
                sleep(ms(1000)).await;
                stream.write_all(b"down").await.unwrap();
                note_all(net, stream, notes).await;
            },
            |net, mut stream, notes| async move {
                sleep(ms(1000)).await;
                stream.write_all(b"up").await.unwrap();
                note_all(net, stream, notes).await;
            },
        );
        assert_eq!(notes.texts(), ["down"]);
    }

    who_asks_into_a_cut_asks_again(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(10_000))
            .at(0, |world| world.link(ONE, OTHER, cut_both()))
            .at(2500, |world| world.link(ONE, OTHER, Link::default()))
            .host(OTHER, hoard)
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    net.connect(OTHER, 80).await.unwrap();
                    notes.add(&net, "connected");
                }
            })
            .run(kind);
        assert!((3000..=3000 + 3 * HOP).contains(&notes.when("connected")), "{:?}", notes.all());
    }

    nobody_asks_for_ever(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(200_000))
            .at(0, |world| world.link(ONE, OTHER, cut_both()))
            .host(OTHER, hoard)
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let error = net.connect(OTHER, 80).await.err().unwrap();
                    notes.add(&net, format!("{:?}", error.kind()));
                }
            })
            .run(kind);
        assert_eq!(notes.all(), [(127_000, "TimedOut".to_owned())]);
    }

    what_is_held_comes_when_the_hold_ends(kind) {
        let hold = Link { held: true, ..Link::default() };
        let scene = Scene::new(ms(5000))
            .at(500, move |world| world.link(ONE, OTHER, hold))
            .at(1500, |world| world.link(ONE, OTHER, Link::default()));
        let notes = pair(kind, scene, note_all, |net, mut stream, notes| async move {
            sleep(ms(1000)).await;
            stream.write_all(b"a").await.unwrap();
            sleep(ms(100)).await;
            stream.write_all(b"b").await.unwrap();
            note_all(net, stream, notes).await;
        });
        let all = notes.texts().concat();
        assert_eq!(all, "ab");
        assert!(notes.all().iter().all(|(at, _)| (1500..=1500 + HOP).contains(at)), "{:?}", notes.all());
    }

    a_connection_that_is_asked_for_in_a_hold_comes_when_it_ends(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(10_000))
            .at(0, |world| world.link(ONE, OTHER, Link { held: true, ..Link::default() }))
            .at(600, |world| world.link(ONE, OTHER, Link::default()))
            .host(OTHER, hoard)
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    net.connect(OTHER, 80).await.unwrap();
                    notes.add(&net, "connected");
                }
            })
            .run(kind);
        assert!((600..=600 + 2 * HOP).contains(&notes.when("connected")), "{:?}", notes.all());
    }

    a_slower_way_is_slower_both_ways_and_then_as_before(kind) {
        let slow = Link { slower_ms: 200, ..Link::default() };
        let scene = Scene::new(ms(9000))
            .at(1000, move |world| world.link(ONE, OTHER, slow))
            .at(5000, |world| world.link(ONE, OTHER, Link::default()));
        let notes = pair(
            kind,
            scene,
            |_, stream, _| echo_one(stream),
            |net, mut stream, notes| async move {
                for second in [500, 2000, 7000] {
                    sleep((ms(second)).saturating_sub(net.now())).await;
                    let before = net.now();
                    ping(&mut stream).await.unwrap();
                    notes.add(&net, (net.now() - before).as_millis().to_string());
                }
            },
        );
        let took: Vec<u64> = notes.texts().iter().map(|text| text.parse().unwrap()).collect();
        assert!(took[0] <= 2 * HOP && (400..=400 + 2 * HOP).contains(&took[1]) && took[2] <= 2 * HOP, "{took:?}");
    }

    what_is_lost_comes_again_later_and_in_order(kind) {
        let lossy = Link { loss_per_mille: 300, ..Link::default() };
        let scene = Scene::new(ms(300_000)).at(0, move |world| world.link(ONE, OTHER, lossy));
        let notes = pair(kind, scene, note_all, |_, mut stream, _| async move {
            for n in 0..50 {
                stream.write_all(format!("{n:02} ").as_bytes()).await.unwrap();
                sleep(ms(50)).await;
            }
            stream.shutdown().await.unwrap();
        });
        let expect: String = (0..50).map(|n| format!("{n:02} ")).collect();
        assert_eq!(notes.texts().concat(), expect + "end");
        let gaps: Vec<_> = notes.all().windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.iter().filter(|gap| **gap >= 150).count() >= 3, "{gaps:?}");
    }

    a_reset_is_seen_at_both_ends_and_no_more(kind) {
        let scene = Scene::new(ms(5000)).at(500, |world| world.reset(OTHER, ONE));
        let notes = pair(kind, scene, note_all, |net, stream, notes| async move {
            note_all(net.clone(), stream, notes.clone()).await;
            // The other one takes no second connection, but its kernel does, or lets it wait.
            assert!(!matches!(tokio::time::timeout(ms(100), net.connect(OTHER, 81)).await, Ok(Ok(_))));
        });
        let all = notes.all();
        assert_eq!(notes.texts(), ["ConnectionReset", "ConnectionReset"]);
        assert!(all.iter().all(|(at, _)| (500..=501).contains(at)), "{all:?}");
    }

    what_is_sent_after_a_reset_fails(kind) {
        let scene = Scene::new(ms(5000)).at(500, |world| world.reset(OTHER, ONE));
        let notes = pair(
            kind,
            scene,
            |_, stream, _| async move {
                pending::<()>().await;
                drop(stream);
            },
            |net, mut stream, notes| async move {
                sleep(ms(1000)).await;
                notes.add(&net, format!("{:?}", stream.write_all(b"x").await.unwrap_err().kind()));
            },
        );
        assert_eq!(notes.texts(), ["ConnectionReset"]);
    }
}
