//! Which waiting task goes next, and how waiting tasks come and go.

use super::{
    Action, Core, Phase, TicketId, Timer,
    destinations::{DestId, UNHEARD_PART},
    ticket::{Slot, State},
};
use crate::{
    event::{Event, ExpiryStage},
    planted::planted,
};
use quebert_wire::Task;
use std::time::Duration;

impl Core {
    /// Gives every free slot to the task whose turn it is.
    pub(super) fn grant(&mut self) {
        while self.phase == Phase::Running || (planted!(DrainSends) && self.phase == Phase::Draining) {
            let Some((lane, slot)) = self.lanes.take_slot() else { return };
            let (_, dest) = *self.lanes.of(lane).eligible.first().expect("a lane gets a slot only if it could send");
            let (_, ticket) =
                *self.destinations.of(dest).of_lane[lane].waiting.front().expect("eligible means waiting");
            if self.expire_if_over(ticket, ExpiryStage::BeforeDispatch) {
                self.lanes.free_slot(lane, slot);
                continue;
            }
            if self.is_early(ticket) {
                // The wall clock went back while it waited.
                self.lanes.free_slot(lane, slot);
                let (task, _) = self.unqueue(ticket);
                self.place(ticket, task, ExpiryStage::BeforeDispatch);
                continue;
            }
            let (task, prepared) = self.unqueue(ticket);
            self.occupy(dest, lane);
            self.start(ticket, task, prepared, slot);
        }
    }

    /// Lets a task wait for a slot and its destination, or puts it off if its destination has its share already.
    pub(super) fn enqueue(&mut self, id: TicketId, task: Box<Task>, prepared: bool) {
        let now = self.now;
        let dest = self.destinations.intern(&task.destination, &self.config.destinations);
        let ticket = &mut self.tickets[id];
        let lane = ticket.lane;
        let facts = ticket.facts.as_mut().expect("only a task that could be read gets this far");
        facts.dest = dest;
        let expiry = facts.expires_at;
        if let Some(before) = self.lanes.note_arrival(lane, dest, now.mono)
            && self.destinations.knows(before)
        {
            self.refresh_eligible(before);
        }
        let share = self.share_of_window(lane);
        let slots = self.slots_of_one(dest, lane);
        let mixed = self.lanes.is_mixed(lane, now.mono);
        let has_room = self.lanes.has_room(lane);
        let patience = self.patience_with(dest, mixed);
        let crowd = self.destinations.of_mut(dest);
        let silent = crowd.is_silent(now.mono, self.config.destinations.patience, patience);
        let held = crowd.of_lane[lane].waiting.len() as u64 + u64::from(crowd.of_lane[lane].in_flight);
        let stuck = !prepared && !crowd.is_free(lane, slots);
        // Among others, nobody waits for the silent. A destination that answers is in nobody's way while it's alone.
        let in_the_way =
            (silent && (mixed || held >= share)) || (mixed && held >= share && crowd.crowded_until > now.mono);
        if stuck && in_the_way && has_room {
            crowd.crowded_until = now.mono + 2 * self.config.destinations.patience;
            return self.put_off_for_overload(id);
        }
        let watched = if mixed { stuck } else { !prepared && held >= share };
        let patience = watched.then(|| self.timers.set(now.mono + patience, Timer::Patience(id)));
        let expiry = expiry.map(|at| self.timers.set(now.mono + at.since(now.wall), Timer::Expiry(id)));
        self.arrivals += 1;
        let seq = self.arrivals;
        self.set_state(id, State::Waiting { seq, task, prepared, timers: [patience, expiry] });
        self.destinations.of_mut(dest).of_lane[lane].waiting.push_back((seq, id));
        self.refresh_eligible(dest);
    }

    /// Takes a task out of its queue. The caller puts the ticket into its next state at once.
    pub(super) fn unqueue(&mut self, id: TicketId) -> (Box<Task>, bool) {
        let ticket = &mut self.tickets[id];
        let (lane, dest) = (ticket.lane, ticket.dest());
        let State::Waiting { seq, task, prepared, timers } = std::mem::replace(&mut ticket.state, State::Reviewing)
        else {
            panic!("only a waiting task is taken out of its queue");
        };
        let counts = ticket.tag.is_some();
        for timer in timers.into_iter().flatten() {
            self.timers.cancel(timer);
        }
        // What stands in for the state until the caller sets the next one counts as in flight; the gauges follow.
        if counts {
            self.count_state_change(lane, true, false);
        }
        let waiting = &mut self.destinations.of_mut(dest).of_lane[lane].waiting;
        let at = waiting.binary_search_by_key(&seq, |(seq, _)| *seq).expect("a waiting task stands in its queue");
        waiting.remove(at);
        self.refresh_eligible(dest);
        (task, prepared)
    }

    /// A request to `dest` begins.
    pub(super) fn occupy(&mut self, dest: DestId, lane: usize) {
        self.destinations.of_mut(dest).occupy(lane, self.now.mono);
        self.refresh_eligible(dest);
        self.report_destination(dest);
        self.report_trust(dest);
    }

    /// A request to `dest` is over, and its slot is free.
    pub(super) fn vacate(&mut self, dest: DestId, lane: usize, slot: Slot) {
        if !(planted!(SlotLeaked) && self.deliveries.is_multiple_of(2)) {
            self.lanes.free_slot(lane, slot);
        }
        self.destinations.of_mut(dest).vacate(lane);
        self.refresh_eligible(dest);
        self.report_destination(dest);
        if let Some(destination) = self.destinations.release(dest) {
            self.emit(Event::DestinationTrusted { destination, trusted: true });
        }
    }

    /// Brings up to date in which lanes `dest` may be sent to.
    pub(super) fn refresh_eligible(&mut self, dest: DestId) {
        for lane in 0..self.config.lanes.len() {
            let slots = self.slots_of_one(dest, lane);
            let crowd = self.destinations.of_mut(dest);
            let free = crowd.is_free(lane, slots);
            let crowd = &mut crowd.of_lane[lane];
            let listed = crowd.listed;
            let oldest = crowd.waiting.front().map(|(seq, _)| *seq).filter(|_| free);
            if listed == oldest {
                continue;
            }
            let eligible = &mut self.lanes.of_mut(lane).eligible;
            if let Some(seq) = listed {
                eligible.remove(&(seq, dest));
            }
            if let Some(seq) = oldest {
                eligible.insert((seq, dest));
            }
            crowd.listed = oldest;
        }
    }

    pub(super) fn refresh_all_eligible(&mut self) {
        for dest in self.destinations.ids() {
            self.refresh_eligible(dest);
        }
    }

    /// A task that its destination had no room for has waited for long. It makes room for others if it is beyond its
    /// destination's share, or if the destination is silent; not if that helps nobody, since the lane has no slot free.
    pub(super) fn on_patience(&mut self, id: TicketId) {
        let Some(ticket) = self.tickets.get(id) else { return };
        let State::Waiting { seq, .. } = ticket.state else { return };
        let (lane, dest) = (ticket.lane, ticket.dest());
        let share = self.share_of_window(lane);
        let now = self.now.mono;
        let mixed = self.lanes.is_mixed(lane, now);
        let patience = self.patience_with(dest, mixed);
        self.report_trust(dest);
        let crowd = self.destinations.of_mut(dest);
        let silent = crowd.is_silent(now, self.config.destinations.patience, patience);
        let within = if silent && mixed { 0 } else { share.saturating_sub(u64::from(crowd.of_lane[lane].in_flight)) };
        let before = crowd.of_lane[lane].waiting.partition_point(|(other, _)| *other < seq) as u64;
        if before < within || !self.lanes.has_room(lane) {
            if before >= within || mixed {
                let timer = self.timers.set(now + patience, Timer::Patience(id));
                if let State::Waiting { timers, .. } = &mut self.tickets[id].state {
                    timers[0] = Some(timer);
                }
            }
            return;
        }
        crowd.crowded_until = now + 2 * self.config.destinations.patience;
        let mut going = vec![id];
        if silent {
            let within = usize::try_from(within).unwrap_or(usize::MAX);
            going = crowd.of_lane[lane].waiting.iter().skip(within).map(|(_, id)| *id).collect();
            going.retain(|id| !matches!(self.tickets[*id].state, State::Waiting { prepared: true, .. }));
        }
        for id in going {
            self.unqueue(id);
            self.put_off_for_overload(id);
        }
    }

    pub(super) fn on_expiry(&mut self, id: TicketId) {
        if !self.tickets.get(id).is_some_and(|ticket| matches!(ticket.state, State::Waiting { .. })) {
            return;
        }
        if planted!(ExpiryOnArrivalOnly) {
            return;
        }
        if !self.expire_if_over(id, ExpiryStage::BeforeDispatch) {
            // The wall clock went back meanwhile: look again when it should be time.
            let at = self.tickets[id].facts().expires_at.expect("the timer was set for it");
            let wait = at.since(self.now.wall).max(Duration::from_millis(1));
            let timer = self.timers.set(self.now.mono + wait, Timer::Expiry(id));
            if let State::Waiting { timers, .. } = &mut self.tickets[id].state {
                timers[1] = Some(timer);
            }
        }
    }

    /// Tasks that have waited for so long that their attempt might end after the broker's patience go off into the delay
    /// grid, lest the broker take all deliveries of the channel back.
    pub(super) fn put_off_overdue(&mut self) {
        let now = self.now.mono;
        let overdue: Vec<TicketId> = self
            .tickets
            .iter()
            .filter(|(_, ticket)| {
                let limit = self.config.wait_limit(ticket.lane);
                matches!(ticket.state, State::Waiting { .. }) && now.saturating_sub(ticket.delivered_at) > limit
            })
            .map(|(id, _)| id)
            .collect();
        for id in overdue {
            self.unqueue(id);
            self.put_off_for_overload(id);
        }
    }

    /// Most slots of a lane that a destination may have now.
    fn slots_of_one(&self, dest: DestId, lane: usize) -> u32 {
        let config = &self.config.destinations;
        let share = self.lanes.share_of_slots(lane, config.window_share);
        if self.lanes.is_mixed(lane, self.now.mono) {
            self.destinations.of(dest).slots_among_others(share, self.now.mono, config.patience)
        } else {
            u32::MAX
        }
    }

    /// How long a task waits for its destination before it is looked at again.
    fn patience_with(&self, dest: DestId, mixed: bool) -> Duration {
        let patience = self.config.destinations.patience;
        if mixed && self.destinations.of(dest).is_unheard() { patience / UNHEARD_PART } else { patience }
    }

    fn share_of_window(&self, lane: usize) -> u64 {
        let window = u64::from(self.config.lanes[lane].window);
        (window * u64::from(self.config.destinations.window_share) / 100).max(1)
    }

    fn report_destination(&mut self, dest: DestId) {
        let crowd = self.destinations.of(dest);
        let event = Event::DestinationInFlight {
            destination: crowd.name.clone(),
            in_flight: crowd.in_flight,
            limit: crowd.limit,
        };
        self.actions.push_back(Action::Emit(event));
    }

    /// Tells that a destination has lost or regained the dispatcher's trust. Silence is seen when something else concerns
    /// the destination: a task that waits for it, or an answer.
    pub(super) fn report_trust(&mut self, dest: DestId) {
        let patience = self.config.destinations.patience;
        let crowd = self.destinations.of_mut(dest);
        if let Some(distrusted) = crowd.distrust_changed(self.now.mono, patience) {
            let destination = crowd.name.clone();
            self.emit(Event::DestinationTrusted { destination, trusted: !distrusted });
        }
    }

    /// Tells the gauges of the lanes whose held tasks have changed.
    pub(super) fn report_held(&mut self) {
        for lane in 0..self.config.lanes.len() {
            let state = self.lanes.of_mut(lane);
            if std::mem::take(&mut state.changed) {
                let (in_flight, buffered) = (state.in_flight, state.buffered);
                self.emit(Event::Held { lane: self.config.lanes[lane].name.clone(), in_flight, buffered });
            }
        }
    }
}
