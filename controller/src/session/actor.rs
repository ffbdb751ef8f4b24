//! One task owns one peer and its pipelines.
//!
//! Everybody else speaks to it by [`Command`]; GStreamer's threads by [`Event`] and by text messages of the client.
//! Whatever ends the session, it ends here, once: the client is told, then everything is freed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::lanes::Lanes;
use super::metrics::Link;
use super::outbox::{self, Outbox};
use super::shares::Shares;
use super::state::State;
use super::watchdog::Watchdog;
use super::{Models, Offer, Parameters, SessionError, parameters};
use crate::cloud::Cloud;
use crate::media::congestion::Congestion;
use crate::media::event::{Event, Events};
use crate::media::handover::Handover;
use crate::media::offer::Plan;
use crate::media::peer::{Connection, Peer};
use crate::media::processing::{self, Processing};
use crate::media::switch::Lane;
use crate::media::{MediaError, channel};

/// How often the watchdog, the bit rate and the held picture are looked after.
const TICK: Duration = Duration::from_millis(500);
/// Packets in one tick that must have been video: reports alone are fewer.
const SURELY_VIDEO: u64 = 10;
/// Video that comes in but cannot be decoded for this long needs a key frame asked for again.
const UNDECODED: Duration = Duration::from_millis(700);
/// A round that comes this late means that the program stood still (a suspended laptop, a debugger).
const STOOD_STILL: Duration = Duration::from_millis(1200);
/// Rounds after that in which the client gets a key frame unasked: its own request may wait behind hundreds of NACKs.
const RESCUE_ROUNDS: u32 = 4;
/// Remembered keys about other applications' pictures.
const SHARED: [&str; 2] = ["input_source", "output_sinks"];
/// A processor that takes longer over a patch is busy loading; its reply is not waited for.
const PATCHING: Duration = Duration::from_secs(2);
/// The last message gets this long to leave.
const FAREWELL: Duration = Duration::from_millis(150);
/// Whoever asked for the end waits this long for it; a model being loaded may hold up the rest, which then
/// ends by itself.
const ENDING: Duration = Duration::from_millis(600);

/// What the registry asks of a session.
#[derive(Debug)]
pub(super) enum Command {
    /// Checked candidates, as (mid, m-line, text).
    AddCandidates(Vec<(Option<String>, Option<u32>, String)>),
    /// A checked patch; the reply is the processors' refusal.
    Apply {
        patch: Parameters,
        reply: oneshot::Sender<Result<(), SessionError>>,
    },
    /// The reply comes when all is freed.
    Close { reply: oneshot::Sender<()> },
}

/// Everything a session begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) offer: Offer,
    pub(super) plan: Plan,
    pub(super) connection: Connection,
    pub(super) furniture: Option<Furniture>,
    pub(super) state: Arc<State>,
}

/// Where other processors come from while the session runs.
#[derive(Debug, Clone)]
pub(super) struct Furniture {
    pub(super) models: Arc<dyn Models>,
    pub(super) cloud: Cloud,
}

/// Why a session ended, and who waits for it.
enum End {
    Asked(oneshot::Sender<()>),
    Gone(&'static str),
    Failed(String),
}

struct Actor {
    peer: Arc<Peer>,
    lanes: Arc<Lanes>,
    shares: Arc<Shares>,
    handover: Arc<Handover>,
    furniture: Option<Furniture>,
    state: Arc<State>,
    outbox: Outbox,
    watchdog: Watchdog,
    congestion: Option<Congestion>,
    packets: u64,
    last_round: Duration,
    rescue: u32,
    link: Link,
    events: Events,
}

/// Runs a session from its offer to its end; `leave` takes it off the registry.
pub(super) async fn run(
    beginning: Beginning,
    mut commands: mpsc::UnboundedReceiver<Command>,
    answered: oneshot::Sender<Result<String, SessionError>>,
    leave: impl FnOnce(),
) {
    let (events, mut news) = mpsc::unbounded_channel();
    let (texts, mut messages) = mpsc::channel(channel::WAITING);
    let sdp = beginning.offer.sdp.clone();
    let mut actor = match build(beginning, events, texts).await {
        Ok(actor) => actor,
        Err(error) => {
            leave();
            answered.send(Err(error.into())).ok();
            return;
        }
    };
    let end = match actor.peer.answer(&sdp).await {
        Ok(answer) => match answered.send(Ok(answer)) {
            Ok(()) => actor.live(&mut commands, &mut news, &mut messages).await,
            Err(_) => End::Gone("nobody waited for the answer"),
        },
        Err(error) => {
            answered.send(Err(error.into())).ok();
            End::Gone("the offer could not be answered")
        }
    };
    leave();
    actor.end(end, &mut commands).await;
}

/// Makes both pipelines and starts them; the processors load while the peer connects.
async fn build(
    beginning: Beginning,
    events: Events,
    texts: mpsc::Sender<String>,
) -> Result<Actor, MediaError> {
    let Beginning {
        offer,
        plan,
        connection,
        furniture,
        state,
    } = beginning;
    let plan = Plan {
        input: plan.input.filter(|_| offer.takes_input),
        ..plan
    };
    let built = tokio::task::spawn_blocking(move || {
        let initial = parameters::route(&offer.initial_parameters);
        let built = Processing::build(
            processing::LOCAL,
            &offer.processors,
            offer.takes_input,
            &initial.processor,
            &events,
        )?;
        let (chain, door) = built.map_or((None, None), |(chain, door)| (Some(chain), door));
        let (peer, encoder) = Peer::new(plan, &connection, &events, texts)?;
        let handover = Arc::new(Handover::new(state.born, encoder, door));
        handover.set_paused(initial.paused.unwrap_or(false));
        if let Some(chain) = &chain {
            chain.connect(Lane::Home, &handover);
        }
        let (crossing, news) = (handover.clone(), events.clone());
        let lanes = Lanes::new(crossing, news, offer.takes_input, chain, offer.local);
        let shares = Shares::new(handover.clone(), events.clone(), offer.takes_input);
        let actor = Actor {
            peer: Arc::new(peer),
            lanes: Arc::new(lanes),
            shares: Arc::new(shares),
            handover,
            furniture,
            last_round: state.born.elapsed(),
            state,
            outbox: Outbox::default(),
            watchdog: Watchdog::default(),
            congestion: None,
            packets: 0,
            rescue: 0,
            link: Link::default(),
            events: events.clone(),
        };
        actor.start(&events).inspect_err(|_| actor.stop())?;
        Ok(actor)
    });
    built
        .await
        .map_err(|_| MediaError::Pipeline("building the session broke off".into()))?
}

impl Actor {
    fn start(&self, events: &Events) -> Result<(), MediaError> {
        let (lanes, failures) = (self.lanes.clone(), events.clone());
        // A thread, not a runtime's: loading may take a minute, and nobody must wait for it to leave the program.
        spawn("session-start", move || {
            if let Err(error) = lanes.start() {
                failures.send(Event::Failed(error.to_string())).ok();
            }
        });
        self.peer.start(&self.handover, events)?;
        self.state.handover.set(self.handover.clone()).ok();
        self.state.lanes.set(self.lanes.clone()).ok();
        Ok(())
    }

    /// Blocks. The peer first: the processors may still be loading.
    fn stop(&self) {
        self.peer.stop();
        self.lanes.stop();
        self.shares.stop();
    }

    async fn live(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        news: &mut mpsc::UnboundedReceiver<Event>,
        messages: &mut mpsc::Receiver<String>,
    ) -> End {
        if let Err(refusal) = self.follow_shares().await {
            self.post(&outbox::error(&refusal));
        }
        let mut cloud = self.furniture.as_ref().map(|known| known.cloud.changes());
        self.follow_cloud();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::AddCandidates(candidates)) => self.add_candidates(&candidates),
                    Some(Command::Apply { patch, reply }) => {
                        let outcome = self.apply(&patch).await;
                        self.post(&outbox::parameters_updated(&patch));
                        reply.send(outcome.map_err(SessionError::BadParameter)).ok();
                    }
                    Some(Command::Close { reply }) => return End::Asked(reply),
                    None => return End::Gone("the program ends"),
                },
                Some(event) = news.recv() => {
                    if let Some(end) = self.hear(event) {
                        return end;
                    }
                }
                Some(text) = messages.recv() => self.read(&text).await,
                () = changed(&mut cloud) => self.follow_cloud(),
                _ = tick.tick() => {
                    if let Some(reason) = self.look_after() {
                        return End::Gone(reason);
                    }
                }
            }
        }
    }

    fn add_candidates(&self, candidates: &[(Option<String>, Option<u32>, String)]) {
        for (mid, index, candidate) in candidates {
            self.peer
                .add_candidate(self.peer.plan.line_of(mid.as_deref(), *index), candidate);
        }
    }

    fn hear(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Connected => {
                tracing::info!("the client is connected");
                self.peer.settle_latency();
                self.peer.send_key_frame();
            }
            Event::Latency => self.peer.settle_latency(),
            Event::ChannelOpened => {
                for text in self.outbox.opened() {
                    self.peer.channel.send(&text);
                }
            }
            Event::ChannelClosed => {
                self.outbox.closed();
                self.watchdog.hung_up(self.state.born.elapsed());
            }
            Event::HungUp => self.watchdog.hung_up(self.state.born.elapsed()),
            // Of a cloud lane, which listens itself.
            Event::Stage(_) => {}
            Event::Refused(reason) => self.post(&outbox::error(&reason)),
            Event::Disconnected(reason) => return Some(End::Gone(reason)),
            Event::ProcessorStopped(reason) | Event::Failed(reason) => {
                return Some(End::Failed(reason));
            }
        }
        None
    }

    /// A message from the client's data channel. A bad one changes nothing but is answered.
    async fn read(&mut self, text: &str) {
        let outcome = match parameters::read(text) {
            Ok(patch) => self.apply(&patch).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = outcome {
            tracing::debug!(refusal, "a parameter message was refused");
            self.post(&outbox::error(&refusal));
        }
    }

    async fn apply(&mut self, patch: &Parameters) -> Result<(), String> {
        let routed = parameters::route(patch);
        if let Some(paused) = routed.paused {
            self.handover.set_paused(paused);
        }
        if let Some(ids) = &routed.pipeline_ids {
            self.swap(ids, patch)?;
        }
        if !routed.processor.is_empty() {
            let (lanes, node) = (self.lanes.clone(), routed.node_id.clone());
            let patch = routed.processor.clone();
            let applied = tokio::task::spawn_blocking(move || lanes.apply(node.as_deref(), &patch));
            match timeout(PATCHING, applied).await {
                Ok(Ok(outcome)) => outcome?,
                Ok(Err(_)) => return Err("the processor broke off".into()),
                Err(_) => tracing::warn!("a processor is busy; it will take the parameters later"),
            }
        }
        self.state.remember(&routed.remembered);
        if SHARED
            .iter()
            .any(|key| routed.remembered.contains_key(*key))
        {
            self.follow_shares().await?;
        }
        Ok(())
    }

    /// Goes to the cloud or leaves it, as asked for.
    fn follow_cloud(&self) {
        if let Some(Furniture { cloud, .. }) = self.furniture.clone() {
            let (lanes, known) = (self.lanes.clone(), self.state.parameters());
            let known = parameters::route(&known).processor;
            spawn("session-cloud", move || lanes.follow_cloud(&cloud, &known));
        }
    }

    /// Receives from and sends to other applications as remembered.
    async fn follow_shares(&self) -> Result<(), String> {
        let (shares, known) = (self.shares.clone(), self.state.parameters());
        tokio::task::spawn_blocking(move || shares.follow(&known))
            .await
            .map_err(|_| "the sharing broke off")?
    }

    /// Puts other loaded models in the place of the present ones; they start with everything said so far.
    fn swap(&self, ids: &[String], patch: &Parameters) -> Result<(), String> {
        let furniture = self.furniture.as_ref();
        let (processors, mut initial) = furniture
            .ok_or("this session cannot change its pipelines")?
            .models
            .bind(ids)?;
        initial.extend(self.state.parameters());
        initial.extend(patch.clone());
        let initial = parameters::route(&initial).processor;
        let (lanes, events) = (self.lanes.clone(), self.events.clone());
        spawn("session-swap", move || {
            if let Err(error) = lanes.swap_home(&processors, &initial) {
                events.send(Event::Refused(error.to_string())).ok();
            }
        });
        Ok(())
    }

    fn post(&mut self, message: &serde_json::Value) {
        if let Some(text) = self.outbox.post(message) {
            self.peer.channel.send(&text);
        }
    }

    /// The regular round; gives the reason when the client is gone.
    fn look_after(&mut self) -> Option<&'static str> {
        let now = self.state.born.elapsed();
        let packets = self.peer.packets();
        let came = packets - std::mem::replace(&mut self.packets, packets);
        self.watchdog.packets(now, packets);
        self.follow_receiver(now);
        self.rescue_after_standstill(now);
        // A picture that is held for the cloud must answer key frame requests, too. One whose client sends nothing must
        // not: the receiver would learn that frames come twice a second, and be late for the next ones.
        let held = self.handover.shown() == Some(Lane::Cloud)
            && self
                .handover
                .last_output()
                .is_some_and(|last| now > last + TICK);
        if self.handover.is_paused() || held {
            self.handover.repeat();
        }
        if !self.handover.is_paused() && self.peer.plan.input.is_some() && came >= SURELY_VIDEO {
            let last = self.handover.last_input().unwrap_or_default();
            if now.saturating_sub(last) > UNDECODED {
                self.peer.ask_key_frame();
            }
        }
        self.watchdog.verdict(now)
    }

    /// After a standstill both sides have lost packets; ours need not wait for the client to find that out.
    fn rescue_after_standstill(&mut self, now: Duration) {
        let since = now.saturating_sub(std::mem::replace(&mut self.last_round, now));
        if since > STOOD_STILL {
            self.rescue = RESCUE_ROUNDS;
        }
        if self.rescue > 0 {
            self.rescue -= 1;
            self.peer.send_key_frame();
        }
    }

    fn follow_receiver(&mut self, now: Duration) {
        let Some((width, height)) = self.handover.size() else {
            return;
        };
        let fresh = self.congestion.is_none();
        let congestion = self
            .congestion
            .get_or_insert_with(|| Congestion::new(width, height));
        let before = congestion.rate();
        congestion.resize(width, height);
        let report = self.peer.report();
        let rate = congestion.report(now, &report);
        if fresh || rate != before {
            self.peer.set_bitrate(rate);
        }
        self.link.bitrate = rate;
        // Reports are rarer than this round; until the next one the last one holds.
        self.link.round_trip = report.round_trip.or(self.link.round_trip);
        self.link.loss = report.loss.or(self.link.loss);
        self.state.set_link(self.link);
    }

    /// Tells the client, frees everything, then tells those who waited.
    async fn end(mut self, end: End, commands: &mut mpsc::UnboundedReceiver<Command>) {
        let mut waiting = Vec::new();
        match end {
            End::Asked(reply) => {
                tracing::info!("the session was closed");
                self.post(&outbox::stream_stopped(None));
                waiting.push(reply);
            }
            End::Gone(reason) => tracing::info!(reason, "the session ended"),
            End::Failed(reason) => {
                tracing::warn!(reason, "the session failed");
                self.post(&outbox::stream_stopped(Some(&reason)));
            }
        }
        let sent = async {
            // SCTP takes it from the buffer first, then to the network in its own thread.
            while self.peer.channel.buffered() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        timeout(FAREWELL, sent).await.ok();
        commands.close();
        let (freed, done) = oneshot::channel();
        spawn("session-end", move || {
            self.stop();
            drop(self);
            freed.send(()).ok();
        });
        timeout(ENDING, done).await.ok();
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Close { reply } => waiting.push(reply),
                Command::Apply { .. } | Command::AddCandidates(_) => {}
            }
        }
        for reply in waiting {
            reply.send(()).ok();
        }
    }
}

/// Waits until the cloud is connected or left; for ever where there is none.
async fn changed(cloud: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = cloud
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// A thread of its own for what may block for long.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(work) {
        tracing::error!(%error, "no thread could be started");
    }
}
