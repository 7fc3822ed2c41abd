//! What turmoil's world does otherwise: each of these is listed in its own words there, too.

use super::*;

/// What comes of a ping into a cut that lasts from 500 to 1,500 ms, and of one after it over a new connection.
fn ping_into_a_cut(kind: Kind) -> Notes {
    let notes = Notes::default();
    let noted = notes.clone();
    let ran = Scene::new(ms(10_000))
        .at(500, |world| world.link(ONE, OTHER, cut_both()))
        .at(1500, |world| world.link(ONE, OTHER, Link::default()))
        .host(OTHER, echo)
        .host(ONE, move |net: Net| {
            let notes = noted.clone();
            async move {
                let mut stream = net.connect(OTHER, 80).await.unwrap();
                sleep(ms(1000)).await;
                let result = ping(&mut stream).await.map_err(|error| error.kind());
                notes.add(&net, format!("{result:?}"));
                let mut stream = net.connect(OTHER, 80).await.unwrap();
                ping(&mut stream).await.unwrap();
                notes.add(&net, "new");
                pending::<()>().await;
            }
        })
        .run(kind);
    assert_eq!(ran.panics, []);
    notes.when("new");
    notes
}

#[test]
fn what_was_lost_in_a_cut_is_sent_again_in_the_fast_world_and_resets_its_connection_in_turmoil() {
    assert!((1500..=3000).contains(&ping_into_a_cut(Kind::Fast).when("Ok(())")));
    assert_eq!(ping_into_a_cut(Kind::Turmoil).when("Err(ConnectionReset)"), 1500);
}

#[test]
fn what_a_cut_catches_on_its_way_is_lost_in_turmoil() {
    let notes = Notes::default();
    let noted = notes.clone();
    Scene::new(ms(5_000))
        .weather(100, 100, 0)
        .at(1050, |world| world.link(ONE, OTHER, cut_both()))
        .at(2000, |world| world.link(ONE, OTHER, Link::default()))
        .host(OTHER, echo)
        .host(ONE, move |net: Net| {
            let notes = noted.clone();
            async move {
                let mut stream = net.connect(OTHER, 80).await.unwrap();
                sleep(ms(1000).saturating_sub(net.now())).await;
                let result = ping(&mut stream).await.map_err(|error| error.kind());
                notes.add(&net, format!("{result:?}"));
            }
        })
        .run(Kind::Turmoil);
    assert_eq!(notes.all(), [(2000, "Err(ConnectionReset)".to_owned())]);
}

#[test]
fn who_connects_to_a_frozen_program_waits_in_turmoil() {
    let connected = |kind| {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(5_000))
            .at(100, |world| world.freeze(OTHER, true))
            .at(2000, |world| world.freeze(OTHER, false))
            .host(OTHER, hoard)
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    sleep(ms(500)).await;
                    net.connect(OTHER, 80).await.unwrap();
                    notes.add(&net, "connected");
                }
            })
            .run(kind);
        notes.when("connected")
    };
    assert!((500..=500 + HOP).contains(&connected(Kind::Fast)));
    assert!((2000..=2000 + HOP).contains(&connected(Kind::Turmoil)));
}

#[test]
fn turmoil_calls_its_director_at_the_first_tick_that_is_not_too_early() {
    let scene = || Scene::new(ms(100)).at(3, |_| {}).at(40, |_| {}).at(41, |_| {}).host(ONE, |_| pending());
    let (ran, calls) = scene().run_with_calls(Kind::Turmoil);
    assert_eq!(calls, [0, 10, 40, 50, 100].map(ms));
    assert_eq!(ran.end, ms(100));
    assert_eq!(scene().run_with_calls(Kind::Fast).1, [0, 3, 40, 41, 100].map(ms));
}
