//! What readers of the feed get, and what they miss. Time is tokio's own, and paused.

use super::*;

fn feed() -> Arc<Feed> {
    Arc::new(Feed::starting(Timestamp::from_millis(1_000_500)))
}

/// The first number of that feed.
const FIRST: u64 = 1000 * NUMBERS_PER_S + 1;

fn enqueue(feed: &Feed, n: usize) {
    let queues: [Arc<str>; 2] = ["high".into(), "low".into()];
    (0..n).for_each(|i| feed.enqueued(&queues[i % 2], &format!("t-{i}")));
}

async fn tasks(reader: &mut Reader) -> Vec<String> {
    reader.next().await.unwrap().into_iter().map(|view| view.task.unwrap_or(view.kind)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_reader_gets_what_happens_from_then_on() {
    let feed = feed();
    enqueue(&feed, 3);
    let mut reader = feed.read(Interest::default(), None).unwrap();
    feed.enqueued(&"high".into(), "a");
    feed.observe(&Event::Draining);
    let told = reader.next().await.unwrap();
    assert_eq!((told.len(), told[0].seq, told[0].task.as_deref()), (2, FIRST + 3, Some("a")));
    assert_eq!((told[0].kind.as_str(), told[1].kind.as_str()), ("enqueued", "draining"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_is_woken() {
    let feed = feed();
    let mut reader = feed.read(Interest::default(), None).unwrap();
    let reading = tokio::spawn(async move { tasks(&mut reader).await });
    tokio::task::yield_now().await;
    enqueue(&feed, 1);
    assert_eq!(reading.await.unwrap(), ["t-0"]);
}

#[tokio::test(start_paused = true)]
async fn filters_narrow_down() {
    let feed = feed();
    let fits = async |interest: Interest| {
        let mut reader = feed.read(interest, None).unwrap();
        enqueue(&feed, 4);
        feed.observe(&Event::Draining);
        tasks(&mut reader).await
    };
    let mut draining = Interest::default();
    assert!(draining.add_kind("draining") && !draining.add_kind("drainage"));
    assert_eq!(fits(draining.clone()).await, ["draining"]);
    assert_eq!(fits(Interest::default().queue(Some("low".into()))).await, ["t-1", "t-3"]);
    assert_eq!(fits(Interest::default().task(TaskId::new("t-2").ok())).await, ["t-2"]);
    assert!(draining.add_kind("enqueued"));
    assert_eq!(fits(draining.queue(Some("high".into()))).await, ["t-0", "t-2"]);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_goes_on_where_it_was() {
    let feed = feed();
    let mut reader = feed.read(Interest::default(), None).unwrap();
    enqueue(&feed, 2);
    let seen = reader.next().await.unwrap()[0].seq;
    drop(reader);
    enqueue(&feed, 1);
    let mut reader = feed.read(Interest::default(), Some(seen)).unwrap();
    assert_eq!(tasks(&mut reader).await, ["t-1", "t-0"], "what happened meanwhile, too");
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_is_told_how_much_is_gone() {
    let feed = feed();
    let mut reader = feed.read(Interest::default().queue(Some("nobody's".into())), None).unwrap();
    enqueue(&feed, KEPT + 10);
    let told = reader.next().await.unwrap();
    assert_eq!((told.len(), told[0].kind.as_str(), told[0].count), (1, "missed", Some(10)));
    assert_eq!(told[0].seq, FIRST + 9, "to go on from, if it comes back");
    assert_eq!(feed.ring().kept.len(), KEPT);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_too_late_is_told_how_much_is_gone() {
    let feed = feed();
    let mut reader = feed.read(Interest::default(), None).unwrap();
    enqueue(&feed, 1);
    let seen = reader.next().await.unwrap()[0].seq;
    drop(reader);
    feed.ring().left = Instant::now().checked_sub(LINGER + Duration::from_secs(1));
    enqueue(&feed, 5);
    assert!(feed.ring().kept.is_empty(), "nothing is kept while nobody reads");
    let mut reader = feed.read(Interest::default(), Some(seen)).unwrap();
    assert_eq!(reader.next().await.unwrap()[0].count, Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_number_of_another_process_begins_anew_and_says_so() {
    let feed = feed();
    let _keeps = feed.read(Interest::default(), None).unwrap();
    enqueue(&feed, 1);
    for stranger in [7, FIRST - 2, FIRST + 100, u64::MAX] {
        let mut reader = feed.read(Interest::default(), Some(stranger)).unwrap();
        let told = reader.next().await.unwrap();
        assert_eq!((told[0].kind.as_str(), told[0].count), ("missed", None), "{stranger}");
        assert_eq!(told[1].task.as_deref(), Some("t-0"));
    }
    let mut reader = feed.read(Interest::default(), Some(FIRST - 1)).unwrap();
    assert_eq!(tasks(&mut reader).await, ["t-0"], "the number before the first is ours");
}

#[tokio::test(start_paused = true)]
async fn readers_are_limited_and_give_their_place_back() {
    let feed = feed();
    let mut readers: Vec<_> = (0..READERS_MAX).map(|_| feed.read(Interest::default(), None).unwrap()).collect();
    assert_eq!(feed.read(Interest::default(), None).unwrap_err(), TooManyReaders);
    readers.pop();
    assert!(feed.read(Interest::default(), None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_closed_feed_tells_what_is_there_and_ends() {
    let feed = feed();
    let mut reader = feed.read(Interest::default(), None).unwrap();
    let mut waiting = feed.read(Interest::default().queue(Some("nobody's".into())), None).unwrap();
    let waiting = tokio::spawn(async move { waiting.next().await });
    tokio::task::yield_now().await;
    enqueue(&feed, 1);
    feed.close();
    assert_eq!(tasks(&mut reader).await, ["t-0"]);
    assert_eq!(reader.next().await, None);
    assert_eq!(waiting.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn numbers_never_go_back_over_a_restart_and_are_exact_in_javascript() {
    let later = Feed::starting(Timestamp::from_millis(2_000_000));
    assert!(later.first > FIRST);
    let year_2200 = Feed::starting("2200-01-01T00:00:00Z".parse().unwrap());
    assert!(year_2200.first < 1 << 53);
}

/// Prints what an event costs the dispatcher.
#[test]
fn an_event_costs_little() {
    let feed = feed();
    let settled = Event::Settled {
        lane: "high".into(),
        result: quebert_dispatcher::event::Settlement::Succeeded,
        task: TaskId::new("t-1").ok(),
        attempts: 1,
        age: None,
        trace: None,
    };
    let cost = |what: &str| {
        let n = 20_000;
        let began = Instant::now();
        (0..n).for_each(|_| feed.observe(&settled));
        println!("{what}: {} ns an event", began.elapsed().as_nanos() / n);
    };
    cost("nobody reads");
    let reader = feed.read(Interest::default(), None).unwrap();
    cost("somebody reads");
    drop(reader);
    assert_eq!(feed.ring().kept.len(), KEPT);
}
