//! Which cores this process may use, which of them share a cache, and which shard serves which core.
//!
//! **Why not ask the usual call.** `available_parallelism`, `num_cpus` and `core_affinity` answer with the mask of the calling
//! *thread*. A worker pinned to its core, and that is exactly our user, hears "1 core" and would build a pool of one shard on
//! a server of sixty-four. Linux keeps no mask of a process, so [`Topology`] takes the union over all its threads:
//! - a pinned thread, be it the caller or the main thread, does not hide what the others may use;
//! - `taskset` in front of the program counts, since every thread inherits it, and so does `taskset -ap` on a running one.
//!
//! Known blind spot: a process that pins its only thread (or all of them to one core) *before* it builds a pool looks like
//! one under `taskset` and gets one shard. Build the pool first, or set the number of shards.
//!
//! **What narrows it.** The union is intersected with the cgroup's cpuset and with the cores that are online. A source that is
//! missing, empty, or at odds with those before it says nothing: a pool on guessed cores is better than none. Only when all
//! are silent are the cores those of `available_parallelism`, numbered from 0.
//!
//! The cgroup's cpu quota takes no particular core away, so it lowers only [`Topology::budget`], on which the default number of
//! shards rests: two cores' worth of time on a 64-core host feed two shards, each at home on 32 cores. It is rounded up: a
//! shard too many costs a steal now and then, with one too few cores contend all the time. The smallest quota from our cgroup
//! up to the root counts; those above a container's own root cannot be seen from inside.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

/// One core that the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Core {
    /// The kernel's number for it, as `sched_getcpu` answers. Numbers have gaps under a cpuset.
    pub(crate) id: usize,
    /// Equal for cores that share an L3: its lowest core, or the package where the kernel shows no L3. On a machine that mixes
    /// the two, domains may coincide, at the price of a steal from farther away.
    pub(crate) l3: usize,
}

/// The cores of the process, as they were when it was read. Never without a core.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    /// Sorted by id.
    cores: Vec<Core>,
    /// Whole cores' worth of time that the cgroups grant; `None` is no limit.
    quota: Option<usize>,
}

/// The dispatch table of a pool: core to shard, shard to core, shard to the shards it steals from.
///
/// Cores are sorted by L3 and dealt to the shards in contiguous runs: one each when there are as many shards, and runs of
/// neighbours when there are fewer. With more shards than cores the surplus shards are nobody's home; their reactors double up.
#[derive(Debug)]
pub(crate) struct Dispatch {
    /// The shard of each core id up to the highest known; two bytes each, so that 32 cores share a cache line.
    table: Box<[u16]>,
    /// For each shard, its home core.
    homes: Box<[usize]>,
    /// For each shard, the others: those in the same L3, and the rest.
    neighbours: Box<[(Vec<u16>, Vec<u16>)]>,
}

impl Dispatch {
    /// Deals the cores to `shards` shards. Panics unless there is at least one and their ids fit 16 bits: the builder's limit.
    pub(crate) fn new(topology: &Topology, shards: usize) -> Self {
        assert!((1..=usize::from(u16::MAX)).contains(&shards), "{shards} shards");
        let mut dealt = topology.cores.clone();
        dealt.sort_by_key(|core| (core.l3, core.id));
        let at_home = shards.min(dealt.len());

        // A hole in the numbering is a core that was not ours when the topology was read: treated as one beyond the table.
        let end = dealt.iter().map(|core| core.id + 1).max().unwrap_or(0);
        let mut table: Box<[u16]> = (0..end).map(|core| (core % shards) as u16).collect();
        for (place, core) in dealt.iter().enumerate() {
            table[core.id] = (place * at_home / dealt.len()) as u16;
        }

        // The first core that was dealt to the shard (the inverse of the line above); past the last one it begins anew.
        let home = |shard: usize| dealt[(shard * dealt.len()).div_ceil(at_home) % dealt.len()];
        let neighbours = |shard: usize| {
            let others = (0..shards).filter(|&other| other != shard);
            others.map(|other| other as u16).partition(|&other| home(other.into()).l3 == home(shard).l3)
        };
        Dispatch {
            table,
            homes: (0..shards).map(|shard| home(shard).id).collect(),
            neighbours: (0..shards).map(neighbours).collect(),
        }
    }

    /// The shard of a core: one bounds-checked load.
    #[inline]
    pub(crate) fn shard_of(&self, core: usize) -> usize {
        match self.table.get(core) {
            Some(&shard) => shard.into(),
            None => self.shard_of_slow(core),
        }
    }

    /// The shard of a core that came later, by hotplug or a wider cpuset. Kept apart, or every checkout would have its division inlined.
    #[cold]
    #[inline(never)]
    fn shard_of_slow(&self, core: usize) -> usize {
        core % self.homes.len()
    }

    /// The core to which the shard's reactor is pinned; `None` if there is no such shard.
    pub(crate) fn home_core(&self, shard: usize) -> Option<usize> {
        self.homes.get(shard).copied()
    }

    /// The other shards in the order of stealing: `(near, far)`, those in the same L3 and the rest, each sorted by id.
    pub(crate) fn neighbours(&self, shard: usize) -> (&[u16], &[u16]) {
        let (near, far) = &self.neighbours[shard];
        (near, far)
    }
}

impl Topology {
    /// That of this process, as it was when it was first asked for: to read it takes milliseconds in a process of many threads.
    pub(crate) fn of_process() -> &'static Topology {
        static TOPOLOGY: OnceLock<Topology> = OnceLock::new();
        #[cfg(all(any(test, fuzzing), not(corepool_loom)))]
        if crate::sync::turns::is_on() {
            return Topology::simulated();
        }
        TOPOLOGY.get_or_init(Topology::read)
    }

    /// That of a simulation, which is to come out the same on every machine: four cores, of which two share a cache.
    #[cfg(all(any(test, fuzzing), not(corepool_loom)))]
    fn simulated() -> &'static Topology {
        static TOPOLOGY: OnceLock<Topology> = OnceLock::new();
        let core = |id| Core { id, l3: id / 2 * 2 };
        TOPOLOGY.get_or_init(|| Topology { cores: (0..4).map(core).collect(), quota: None })
    }

    /// Reads the topology of this process. Some file reads for each thread and core, so not for a hot path.
    pub(crate) fn read() -> Self {
        Topology::read_from(Path::new("/"))
    }

    /// [`read`](Topology::read) below another root, for tests.
    pub(crate) fn read_from(root: &Path) -> Self {
        // A mask and a cpuset may name cores that are not plugged in.
        let online = read_list(&root.join("sys/devices/system/cpu/online"));
        let ids = [allowed(root), cpuset(root), online]
            .into_iter()
            .filter(|ids| !ids.is_empty())
            .reduce(|ids, limit| if ids.is_disjoint(&limit) { ids } else { &ids & &limit })
            .unwrap_or_else(|| (0..thread::available_parallelism().map_or(1, usize::from)).collect());
        Topology {
            cores: ids.into_iter().map(|id| Core { id, l3: l3_domain(root, id) }).collect(),
            quota: cgroup_dirs(root, "cpu").iter().filter_map(|dir| quota(dir)).min(),
        }
    }

    /// The cores, sorted by id; at least one.
    #[cfg(test)]
    pub(crate) fn cores(&self) -> &[Core] {
        &self.cores
    }

    /// How many cores can be busy at a time: their number, or the cpu quota where that is less; at least 1.
    pub(crate) fn budget(&self) -> usize {
        self.quota.map_or(self.cores.len(), |quota| quota.min(self.cores.len())).max(1)
    }

    /// The affinity of a thread that belongs to no core. A background thread is given it, since it inherits its creator's.
    pub(crate) fn all_ids(&self) -> Vec<usize> {
        self.cores.iter().map(|core| core.id).collect()
    }
}

/// The union of the threads' masks. A thread that ends meanwhile is passed over.
fn allowed(root: &Path) -> BTreeSet<usize> {
    let tasks = fs::read_dir(root.join("proc/self/task")).into_iter().flatten().flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let mask = |line: &str| line.strip_prefix("Cpus_allowed_list:").map(parse_list);
    statuses.filter_map(|status| status.lines().find_map(mask)).flatten().collect()
}

/// The innermost cpuset that lists any core.
fn cpuset(root: &Path) -> BTreeSet<usize> {
    // v2, v1, and v1 before Linux 3.17. v2 has the last one too, as a mere wish, but then always the first beside it.
    let files = ["cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"];
    let dirs = cgroup_dirs(root, "cpuset");
    let lists = dirs.iter().flat_map(|dir| files.map(|file| dir.join(file)));
    lists.map(|file| read_list(&file)).find(|ids| !ids.is_empty()).unwrap_or_default()
}

/// See [`Core::l3`]. The kernel's "unknown package", -1, does not parse, which is as good as no file.
fn l3_domain(root: &Path, core: usize) -> usize {
    let dir = root.join(format!("sys/devices/system/cpu/cpu{core}"));
    let package = || fs::read_to_string(dir.join("topology/physical_package_id")).ok()?.trim().parse().ok();
    read_list(&dir.join("cache/index3/shared_cpu_list")).first().copied().or_else(package).unwrap_or(0)
}

/// Where limits on `controller` may stand, each cgroup before its parents. Many of them do not exist: inside a container the
/// path may be the host's while the mount is the container's, and walking up to the mount finds the right one.
fn cgroup_dirs(root: &Path, controller: &str) -> Vec<PathBuf> {
    let mount = root.join("sys/fs/cgroup");
    let mut dirs = Vec::new();
    // Each line is "hierarchy:controllers:/path"; v2 names no controllers.
    for line in fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default().lines() {
        let fields: Vec<&str> = line.splitn(3, ':').collect();
        let &[_, controllers, path] = fields.as_slice() else { continue };
        let bases = match controllers {
            // Beside v1 hierarchies v2 has a mount of its own.
            "" => [mount.clone(), mount.join("unified")],
            // "cpu,cpuacct" is mounted under that name, "cpu" a link to it that may be missing.
            list if list.split(',').any(|name| name == controller) => [mount.join(controller), mount.join(list)],
            _ => continue,
        };
        // A path that begins with ".." lies outside of the container's view.
        let parts = Path::new(path).components().skip(1);
        let inside: PathBuf = parts.take_while(|part| matches!(part, Component::Normal(_))).collect();
        dirs.extend(bases.iter().flat_map(|base| inside.ancestors().map(|dir| base.join(dir))));
    }
    dirs
}

/// The cpu quota of one cgroup in whole cores, rounded up. "No limit" is "max" in v2 and -1 in v1: neither is a number here.
fn quota(dir: &Path) -> Option<usize> {
    let read = |file: &str| fs::read_to_string(dir.join(file)).ok();
    let text = read("cpu.max").or_else(|| Some(read("cpu.cfs_quota_us")? + " " + &read("cpu.cfs_period_us")?))?;
    let (quota, period) = text.trim().split_once(char::is_whitespace)?;
    let (quota, period): (usize, usize) = (quota.parse().ok()?, period.trim().parse().ok()?);
    (period > 0).then(|| quota.div_ceil(period))
}

/// The list in a file; empty if it cannot be read.
fn read_list(file: &Path) -> BTreeSet<usize> {
    fs::read_to_string(file).map(|text| parse_list(&text)).unwrap_or_default()
}

/// The kernel's list format, "0-3,8". What is not in it is left out.
fn parse_list(text: &str) -> BTreeSet<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The topology of a machine that has these files, and one thread for each of the masks.
    fn machine(masks: &[&str], files: &[(&str, &str)]) -> Topology {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: only tells apart the directories of tests that run side by side.
        let name = format!("corepool-topology-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        let masks = masks.iter().map(|mask| format!("Cpus_allowed:\tff\nCpus_allowed_list:\t{mask}\nMems_allowed:\t1"));
        let tasks = masks.enumerate().map(|(task, status)| (format!("proc/self/task/{task}/status"), status));
        for (path, text) in tasks.chain(files.iter().map(|&(path, text)| (path.into(), text.into()))) {
            fs::create_dir_all(root.join(&path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text + "\n").unwrap();
        }
        let topology = Topology::read_from(&root);
        // A machine without files has no directory either.
        let _ = fs::remove_dir_all(&root);
        topology
    }

    /// `shards` shards for cores with these ids and L3s.
    fn dispatch(cores: impl IntoIterator<Item = (usize, usize)>, shards: usize) -> Dispatch {
        let cores = cores.into_iter().map(|(id, l3)| Core { id, l3 }).collect();
        Dispatch::new(&Topology { cores, quota: None }, shards)
    }

    fn homes(dispatch: &Dispatch) -> Vec<usize> {
        (0..).map_while(|shard| dispatch.home_core(shard)).collect()
    }

    #[test]
    fn lists_are_parsed() {
        assert!(parse_list("0-3,8,10-11\n").into_iter().eq([0, 1, 2, 3, 8, 10, 11]));
        assert!(parse_list("0").into_iter().eq([0]));
        assert!(parse_list("\n").is_empty());
        assert!(parse_list("x,4,5-").into_iter().eq([4]));
    }

    #[test]
    fn a_pinned_thread_does_not_hide_the_cores_of_the_others() {
        assert_eq!(machine(&["2", "0-3", "2"], &[]).all_ids(), [0, 1, 2, 3]);
        assert_eq!(machine(&["4,6", "6"], &[]).all_ids(), [4, 6], "taskset on the whole process counts");
    }

    #[test]
    fn cpuset_and_offline_cores_narrow_the_masks() {
        let [v1, v2] = ["3:cpuset:/docker/abc\n0::/", "0::/a/b"].map(|text| ("proc/self/cgroup", text));
        let effective = ("sys/fs/cgroup/a/cpuset.cpus.effective", "3-9");
        let online = ("sys/devices/system/cpu/online", "0-5,8");
        assert_eq!(machine(&["0-63"], &[v2, effective, online]).all_ids(), [3, 4, 5, 8]);
        assert_eq!(machine(&["0-63"], &[v1, ("sys/fs/cgroup/cpuset/cpuset.cpus", "1,5")]).all_ids(), [1, 5]);
        assert_eq!(machine(&["6-7"], &[online]).all_ids(), [6, 7], "a source at odds with the masks is ignored");
    }

    #[test]
    fn the_smallest_quota_on_the_way_up_is_the_budget() {
        let v2 = [
            ("proc/self/cgroup", "0::/slice/unit"),
            ("sys/fs/cgroup/slice/unit/cpu.max", "400000 100000"),
            ("sys/fs/cgroup/slice/cpu.max", "250000 100000"),
            ("sys/fs/cgroup/cpu.max", "max 100000"),
        ];
        assert_eq!(machine(&["0-7"], &v2).budget(), 3);
        assert_eq!(machine(&["0-7"], &v2).cores().len(), 8, "a quota takes no particular core away");
        for (quota, budget) in [("100000", 2), ("1000", 1), ("900000", 8), ("-1", 8)] {
            let v1 = [
                ("proc/self/cgroup", "5:cpuacct,cpu:/job\n0::/../elsewhere"),
                ("sys/fs/cgroup/cpuacct,cpu/job/cpu.cfs_quota_us", quota),
                ("sys/fs/cgroup/cpuacct,cpu/job/cpu.cfs_period_us", "50000"),
            ];
            assert_eq!(machine(&["0-7"], &v1).budget(), budget, "{quota}");
        }
    }

    #[test]
    fn with_no_files_at_all_the_cores_are_guessed() {
        let (topology, guess) = (machine(&[], &[]), thread::available_parallelism().unwrap().get());
        assert!(topology.cores().iter().copied().eq((0..guess).map(|id| Core { id, l3: 0 })));
        assert_eq!(topology.budget(), guess);
    }

    #[test]
    fn the_domain_is_the_l3_or_else_the_package() {
        let files = [
            ("sys/devices/system/cpu/cpu9/cache/index3/shared_cpu_list", "8-9"),
            ("sys/devices/system/cpu/cpu10/topology/physical_package_id", "7"),
            ("sys/devices/system/cpu/cpu11/topology/physical_package_id", "-1"),
        ];
        assert!(machine(&["9-11"], &files).cores().iter().map(|core| core.l3).eq([8, 7, 0]));
    }

    #[test]
    fn sparse_cores_have_a_shard_each_and_strangers_map_modulo() {
        let dispatch = dispatch([(5, 0), (9, 0), (40, 0)], 3);
        assert_eq!(homes(&dispatch), [5, 9, 40]);
        assert_eq!([5, 9, 40].map(|core| dispatch.shard_of(core)), [0, 1, 2]);
        assert_eq!([7, 41, usize::MAX].map(|core| dispatch.shard_of(core)), [1, 2, usize::MAX % 3]);
    }

    #[test]
    fn cores_of_the_same_l3_share_a_shard_and_are_near() {
        let [full, half] = [8, 4].map(|shards| dispatch((0..8).map(|core| (core, core % 2)), shards));
        let order = [0, 2, 4, 6, 1, 3, 5, 7];
        assert_eq!(homes(&full), order);
        assert_eq!(full.neighbours(1), (&[0, 2, 3][..], &[4, 5, 6, 7][..]));
        assert_eq!(full.neighbours(6), (&[4, 5, 7][..], &[0, 1, 2, 3][..]));
        assert_eq!(homes(&half), [0, 4, 1, 5]);
        assert_eq!(order.map(|core| half.shard_of(core)), [0, 0, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn every_shard_is_pinned_to_a_core_that_it_serves() {
        for shards in 1..=13 {
            let dispatch = dispatch((0..13).map(|core| (core, 0)), shards);
            assert!(homes(&dispatch).iter().map(|&core| dispatch.shard_of(core)).eq(0..shards), "{dispatch:?}");
        }
    }

    #[test]
    fn surplus_shards_are_nobodys_home() {
        let dispatch = dispatch([(0, 0), (1, 1)], 5);
        assert_eq!([0, 1].map(|core| dispatch.shard_of(core)), [0, 1]);
        assert_eq!(homes(&dispatch), [0, 1, 0, 1, 0]);
        assert_eq!(dispatch.neighbours(0), (&[2, 4][..], &[1, 3][..]));
    }

    #[test]
    fn a_pinned_caller_sees_as_many_cores_as_before() {
        let before = Topology::read().all_ids();
        let id = before[before.len() - 1];
        let pinned = thread::spawn(move || {
            assert!(core_affinity::set_for_current(core_affinity::CoreId { id }));
            (core_affinity::get_core_ids().unwrap().len(), Topology::read().all_ids())
        });
        assert_eq!(pinned.join().unwrap(), (1, before));
    }
}
