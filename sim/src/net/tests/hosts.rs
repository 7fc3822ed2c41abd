//! Hosts that go down, come up, freeze, panic and end.

use super::*;

/// Notes when it is dropped.
struct Last(Notes, Net, &'static str);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.add(&self.1, self.2);
    }
}

both! {
    a_killed_program_ends_at_once_and_its_tasks_in_their_order(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(1000))
            .at(500, |world| {
                world.down(ONE, Down::Kill);
                world.down(ONE, Down::Kill);
            })
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let last = Last(notes.clone(), net.clone(), "main");
                    for name in ["first", "second", "third"] {
                        let last = Last(notes.clone(), net.clone(), name);
                        net.spawn(async move {
                            pending::<()>().await;
                            drop(last);
                        });
                    }
                    loop {
                        sleep(ms(10)).await;
                        last.0.add(&net, "tick");
                    }
                }
            })
            .run(kind);
        let (ticks, ends): (Vec<_>, Vec<_>) = notes.all().into_iter().partition(|(_, text)| text == "tick");
        assert!((48..=50).contains(&ticks.len()), "{ticks:?}");
        assert_eq!(ends.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["main", "first", "second", "third"]);
        assert!(ends.iter().all(|(at, _)| *at == 500), "{ends:?}");
    }

    peers_of_a_killed_process_are_told_and_refused_until_it_is_up(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(3000))
            .at(500, |world| world.down(OTHER, Down::Kill))
            .at(1500, |world| {
                world.up(OTHER);
                world.up(OTHER);
            })
            .host(OTHER, echo)
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let mut stream = net.connect(OTHER, 80).await.unwrap();
                    notes.add(&net, read(&mut stream).await);
                    while let Err(error) = net.connect(OTHER, 80).await {
                        notes.add(&net, format!("{:?}", error.kind()));
                        sleep(ms(200)).await;
                    }
                    notes.add(&net, "again");
                    pending::<()>().await;
                }
            })
            .run(kind);
        assert!((500..=500 + HOP).contains(&notes.when("end")), "{:?}", notes.all());
        notes.when("ConnectionRefused");
        assert!((1500..=1800).contains(&notes.when("again")), "{:?}", notes.all());
    }

    a_host_that_goes_down_and_up_in_one_moment_has_started_anew(kind) {
        for how in [Down::Kill, Down::Power] {
            let notes = Notes::default();
            let noted = notes.clone();
            let ran = Scene::new(ms(1000))
                .at(500, move |world| {
                    world.down(ONE, how);
                    world.up(ONE);
                })
                .host(ONE, move |net: Net| {
                    let notes = noted.clone();
                    async move {
                        notes.add(&net, "start");
                        let _last = Last(notes.clone(), net.clone(), "end");
                        let _listener = net.bind(80).await.unwrap();
                        pending::<()>().await;
                    }
                })
                .run(kind);
            assert_eq!(ran.panics, []);
            assert_eq!(notes.texts(), ["start", "end", "start", "end"]);
            assert!((500..=500 + HOP).contains(&notes.all()[2].0), "{:?}", notes.all());
        }
    }

    a_machine_without_power_is_silent_and_then_answers_with_resets(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(10_000))
            .at(500, |world| world.down(OTHER, Down::Power))
            .at(1500, |world| world.up(OTHER))
            .host(OTHER, echo)
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let mut asks = net.connect(OTHER, 80).await.unwrap();
                    let mut idle = net.connect(OTHER, 80).await.unwrap();
                    sleep(ms(600)).await;
                    asks.write_all(b"ping").await.unwrap();
                    notes.add(&net, format!("asked: {}", read(&mut asks).await));
                    sleep(ms(3000)).await;
                    assert!(tokio::time::timeout(ms(1000), read(&mut idle)).await.is_err(), "nobody has told");
                    idle.write_all(b"ping").await.unwrap();
                    notes.add(&net, format!("idle: {}", read(&mut idle).await));
                }
            })
            .run(kind);
        // The ping was sent 900 ms before the power came back: it is sent again as long after at the latest.
        assert!((1500..=2500).contains(&notes.when("asked: ConnectionReset")), "{:?}", notes.all());
        notes.when("idle: ConnectionReset");
    }

    a_machine_without_power_is_asked_again_until_it_has_some(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(10_000))
            .at(100, |world| world.down(OTHER, Down::Power))
            .at(1500, |world| world.up(OTHER))
            .host(OTHER, echo)
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    sleep(ms(200)).await;
                    net.connect(OTHER, 80).await.unwrap();
                    notes.add(&net, "connected");
                }
            })
            .run(kind);
        let connected = notes.when("connected");
        assert!((3200..=3200 + 3 * HOP).contains(&connected), "the third SYN is sent 3 s after the first: {connected}");
    }

    a_program_that_ends_takes_everything_along(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(2000))
            .host(OTHER, |net: Net| async move {
                let echo = echo(net.clone());
                net.spawn(echo);
                sleep(ms(500)).await;
            })
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let mut stream = net.connect(OTHER, 80).await.unwrap();
                    ping(&mut stream).await.unwrap();
                    notes.add(&net, read(&mut stream).await);
                    let error = net.connect(OTHER, 80).await.err().unwrap();
                    notes.add(&net, format!("{:?}", error.kind()));
                }
            })
            .run(kind);
        assert!((500..=500 + 2 * HOP).contains(&notes.when("end")), "{:?}", notes.all());
        notes.when("ConnectionRefused");
    }

    a_frozen_program_does_nothing_and_then_goes_on(kind) {
        let notes = Notes::default();
        let (noted, asked) = (notes.clone(), notes.clone());
        Scene::new(ms(3000))
            .at(500, |world| {
                world.freeze(OTHER, true);
                world.freeze(OTHER, true);
            })
            .at(1500, |world| world.freeze(OTHER, false))
            .host(OTHER, move |net: Net| {
                let notes = noted.clone();
                async move {
                    net.spawn(echo(net.clone()));
                    loop {
                        sleep(ms(100)).await;
                        notes.add(&net, "tick");
                    }
                }
            })
            .host(ONE, move |net: Net| {
                let notes = asked.clone();
                async move {
                    let mut stream = net.connect(OTHER, 80).await.unwrap();
                    sleep(ms(600)).await;
                    ping(&mut stream).await.unwrap();
                    notes.add(&net, "ponged");
                    pending::<()>().await;
                }
            })
            .run(kind);
        let all = notes.all();
        let frozen = all.iter().filter(|(at, _)| (501..1500).contains(at)).count();
        assert_eq!(frozen, 0, "{all:?}");
        assert!(all.iter().any(|(at, text)| *at > 1600 && text == "tick"), "{all:?}");
        assert!((1500..=1500 + 2 * HOP).contains(&notes.when("ponged")), "{all:?}");
    }

    a_panic_ends_the_run_and_is_told(kind) {
        for spawned in [false, true] {
            let ran = Scene::new(ms(1000))
                .host(OTHER, echo)
                .host(ONE, move |net: Net| async move {
                    sleep(ms(300)).await;
                    let boom = async { std::panic::panic_any(crate::run::Expected) };
                    if spawned { net.spawn(boom) } else { boom.await }
                    pending::<()>().await;
                })
                .run(kind);
            assert_eq!(ran.panics, [(ONE, "a panic without a text".to_owned())]);
            assert!((ms(300)..=ms(300 + HOP)).contains(&ran.end), "{:?}", ran.end);
        }
    }

    tasks_that_wake_each_other_for_ever_end_the_run(kind) {
        let ran = Scene::new(ms(1000))
            .host(ONE, |_| async move {
                sleep(ms(300)).await;
                loop {
                    tokio::task::yield_now().await;
                }
            })
            .run(kind);
        assert_eq!(ran.panics.len(), 1, "{:?}", ran.panics);
        assert!(ran.panics[0].1.starts_with("no progress"), "{:?}", ran.panics);
    }
}
