//! Connections without faults.

use super::*;

both! {
    a_ping_is_answered_within_two_hops(kind) {
        let notes = Notes::default();
        let asked = notes.clone();
        let ran = Scene::new(ms(1000))
            .host(OTHER, echo)
            .host(ONE, move |net: Net| {
                let notes = asked.clone();
                async move {
                    let mut stream = net.connect(OTHER, 80).await.unwrap();
                    notes.add(&net, "connected");
                    ping(&mut stream).await.unwrap();
                    notes.add(&net, "ponged");
                    pending::<()>().await;
                }
            })
            .run(kind);
        assert_eq!(ran.end, ms(1000));
        assert_eq!(ran.panics, []);
        let (connected, ponged) = (notes.when("connected"), notes.when("ponged"));
        assert!((1..=2 * HOP).contains(&connected), "{connected}");
        assert!((2..=2 * HOP).contains(&(ponged - connected)), "{ponged}");
        assert_eq!(ran.segments, 3, "SYN, ping, pong");
    }

    where_nobody_listens_one_is_refused(kind) {
        let notes = Notes::default();
        let asked = notes.clone();
        Scene::new(ms(1000))
            .host(OTHER, echo)
            .host(ONE, move |net: Net| {
                let notes = asked.clone();
                async move {
                    sleep(ms(100)).await;
                    let error = net.connect(OTHER, 81).await.err().unwrap();
                    notes.add(&net, format!("{:?}", error.kind()));
                    let error = net.connect(Host::Executor(9), 80).await.err().unwrap();
                    notes.add(&net, format!("{:?}", error.kind()));
                }
            })
            .run(kind);
        assert!((100..=100 + 2 * HOP).contains(&notes.when("ConnectionRefused")));
        notes.when("HostUnreachable");
    }

    a_port_has_one_listener_at_a_time(kind) {
        let notes = Notes::default();
        let bound = notes.clone();
        let ran = Scene::new(ms(100))
            .host(ONE, move |net: Net| {
                let notes = bound.clone();
                async move {
                    let first = net.bind(80).await.unwrap();
                    notes.add(&net, format!("{:?}", net.bind(80).await.err().unwrap().kind()));
                    drop(first);
                    net.bind(80).await.unwrap();
                    notes.add(&net, "again");
                }
            })
            .run(kind);
        assert_eq!((notes.texts(), ran.panics), (vec!["AddrInUse".to_owned(), "again".to_owned()], vec![]));
    }

    bytes_arrive_whole_and_in_order(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        let byte = |n: usize| u8::try_from(n * 7 % 251).unwrap();
        Scene::new(ms(60_000))
            .weather(1, 80, 100)
            .host(OTHER, echo)
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let stream = net.connect(OTHER, 80).await.unwrap();
                    let (mut read, mut write) = tokio::io::split(stream);
                    net.spawn(async move {
                        let all = (0..200_000).map(byte).collect::<Vec<_>>();
                        for (n, part) in all.chunks(3_333).enumerate() {
                            write.write_all(part).await.unwrap();
                            sleep(ms(n as u64 % 5)).await;
                        }
                        write.shutdown().await.unwrap();
                    });
                    let mut all = Vec::new();
                    read.read_to_end(&mut all).await.unwrap();
                    notes.add(&net, format!("{} {}", all.len(), all.iter().enumerate().all(|(n, b)| *b == byte(n))));
                }
            })
            .run(kind);
        assert_eq!(notes.texts(), ["200000 true"]);
    }

    one_side_may_end_before_the_other(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(1000))
            .host(OTHER, |net: Net| async move {
                let mut listener = net.bind(80).await.unwrap();
                let (mut stream, from) = listener.accept().await.unwrap();
                assert_eq!(from, ONE);
                let mut all = String::new();
                stream.read_to_string(&mut all).await.unwrap();
                sleep(ms(100)).await;
                stream.write_all(all.to_uppercase().as_bytes()).await.unwrap();
            })
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let mut stream = net.connect(OTHER, 80).await.unwrap();
                    stream.write_all(b"half").await.unwrap();
                    stream.shutdown().await.unwrap();
                    stream.shutdown().await.unwrap();
                    notes.add(&net, format!("{:?}", stream.write_all(b"more").await.unwrap_err().kind()));
                    let mut all = String::new();
                    stream.read_to_string(&mut all).await.unwrap();
                    notes.add(&net, all);
                }
            })
            .run(kind);
        assert_eq!(notes.texts(), ["BrokenPipe", "HALF"]);
    }

    a_dropped_connection_ends_and_one_with_something_unread_is_reset(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(1000))
            .host(OTHER, |net: Net| async move {
                let mut listener = net.bind(80).await.unwrap();
                drop(listener.accept().await.unwrap());
                let (stream, _) = listener.accept().await.unwrap();
                sleep(ms(100)).await;
                drop(stream);
                pending::<()>().await;
            })
            .host(ONE, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let mut stream = net.connect(OTHER, 80).await.unwrap();
                    notes.add(&net, read(&mut stream).await);
                    let mut stream = net.connect(OTHER, 80).await.unwrap();
                    stream.write_all(b"unread").await.unwrap();
                    notes.add(&net, read(&mut stream).await);
                    notes.add(&net, format!("{:?}", stream.write_all(b"x").await.unwrap_err().kind()));
                }
            })
            .run(kind);
        assert_eq!(notes.texts(), ["end", "ConnectionReset", "ConnectionReset"]);
    }

    who_gives_up_connecting_leaves_nothing_behind(kind) {
        let notes = Notes::default();
        let noted = notes.clone();
        Scene::new(ms(5000))
            .weather(50, 50, 0)
            .host(OTHER, move |net: Net| {
                let notes = noted.clone();
                async move {
                    let mut listener = net.bind(80).await.unwrap();
                    while let Ok((mut stream, _)) = listener.accept().await {
                        notes.add(&net, read(&mut stream).await);
                    }
                }
            })
            .host(ONE, |net: Net| async move {
                let connect = tokio::time::timeout(ms(30), net.connect(OTHER, 80));
                assert!(connect.await.is_err(), "a connection takes two hops of 50 ms");
                drop(net.connect(OTHER, 80).await.unwrap());
                pending::<()>().await;
            })
            .run(kind);
        // Whether the first one comes to be known at all is the network's affair; that it is over is not.
        assert!(notes.texts().iter().all(|text| text == "end" || text == "ConnectionReset"), "{:?}", notes.texts());
        assert!((1..=2).contains(&notes.texts().len()), "{:?}", notes.texts());
    }
}

both! {
    the_same_seed_gives_the_same_bytes_and_another_one_does_not(kind) {
        let run = |seed| {
            let notes = Notes::default();
            let noted = notes.clone();
            let ran = Scene::new(ms(5000))
                .seed(seed)
                .weather(1, 90, 200)
                .at(1000, |world| world.link(ONE, OTHER, Link { loss_per_mille: 200, ..Link::default() }))
                .at(2000, |world| world.down(OTHER, Down::Kill))
                .at(2500, |world| world.up(OTHER))
                .host(OTHER, echo)
                .host(ONE, move |net: Net| {
                    let notes = noted.clone();
                    async move {
                        loop {
                            sleep(ms(7)).await;
                            let Ok(mut stream) = net.connect(OTHER, 80).await else { continue };
                            while ping(&mut stream).await.is_ok() {
                                notes.add(&net, "ping");
                            }
                            notes.add(&net, "lost");
                        }
                    }
                })
                .run(kind);
            assert_eq!(ran.panics, []);
            (notes.all(), ran)
        };
        let one = run(1);
        assert!(one.1.segments > 50 && one.0.iter().any(|(_, text)| text == "lost"), "{one:?}");
        assert_eq!(one, run(1));
        assert_ne!(one.1.wire_hash, run(2).1.wire_hash);
    }
}
