"""Ranks in network namespaces of their own, so that every byte between them crosses an interface that the kernel counts,
shapes and can cut.

A Network is one namespace per rank and one for the launcher, with two switches (bridges) in the launcher's:

    rank r: data0 10.231.0.(r+1) -- switch "data"     what ranks say to one another (OpenMPI's TCP transport)
            ctl0  10.232.0.(r+1) -- switch "ctl"      OpenMPI's own control: its processes find their launcher there

Nothing of it is visible outside. Segmentation and receive offloads of data0 are off, so that the interface's counters
count frames as a wire would carry them. Needs root, iproute2 and mpirun; missing() says what is not there.
"""
import array
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys

SKIPPED = 77
# Of a full frame: 1,448 bytes of TCP payload under 14 of Ethernet, 20 of IP and 32 of TCP with timestamps.
SEGMENT_BYTES = 1448
FRAME_OVERHEAD_BYTES = 66

_SIOCETHTOOL = 0x8946
_OFFLOADS = {"tso": 0x1F, "ufo": 0x22, "gso": 0x24, "gro": 0x2C}   # ETHTOOL_S*
_MPI_SETTINGS = {
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "self,tcp",
    "OMPI_MCA_btl_tcp_if_include": "data0",
    "OMPI_MCA_btl_base_warn_component_unused": "0",
    "PMIX_MCA_ptl_tcp_if_include": "ctl,ctl0",
    "PMIX_MCA_ptl_tcp_remote_connections": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def missing():
    """What keeps a Network from being made here, in words; empty where nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "tc", "mpirun"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    name = f"sluice-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


def skip_unless_possible():
    """Ends the script as skipped, saying why, where a Network cannot be made."""
    reason = missing()
    if reason:
        print(f"SKIPPED: {os.path.basename(sys.argv[0])}: {reason}")
        sys.exit(SKIPPED)


def _run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _turn_offloads_off(interface):
    """Of an interface in the namespace of this process, through the ioctl that ethtool uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in _OFFLOADS.values():
            value = array.array("B", struct.pack("II", command, 0))
            request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
            try:
                fcntl.ioctl(sock, _SIOCETHTOOL, request)
            except OSError:
                pass   # an offload that the kernel does not have is off


class Network:
    """Use as a context manager: namespaces, and what still runs in them, are gone after it."""

    def __init__(self, ranks, name=None):
        self.ranks = ranks
        self.name = name or f"sluice-{os.getpid()}"
        self.host = f"{self.name}-host"
        self._namespaces = []
        try:
            self._make()
        except Exception:
            self.close()
            raise

    def _make(self):
        self._add_namespace(self.host)
        for switch, address in (("data", None), ("ctl", "10.232.0.254/24")):
            self._ip(self.host, "link", "add", switch, "type", "bridge")
            if address:
                self._ip(self.host, "address", "add", address, "dev", switch)
            self._ip(self.host, "link", "set", switch, "up")
        for rank in range(self.ranks):
            self._add_namespace(self.namespace(rank))
            for kind, subnet in (("data", 231), ("ctl", 232)):
                port = f"{kind}-{rank}"
                self._ip(self.host, "link", "add", port, "type", "veth", "peer", "name", f"{kind}0",
                         "netns", self.namespace(rank))
                self._ip(self.host, "link", "set", port, "master", kind, "up")
                self._ip(self.namespace(rank), "address", "add", f"10.{subnet}.0.{rank + 1}/24", "dev", f"{kind}0")
                self._ip(self.namespace(rank), "link", "set", f"{kind}0", "up")
                if kind == "data":
                    self._offloads_off(self.host, port)
                    self._offloads_off(self.namespace(rank), "data0")

    def _add_namespace(self, name):
        _run("ip", "netns", "add", name)
        self._namespaces.append(name)
        # Without IPv6 an interface that comes up says nothing of its own.
        _run("ip", "netns", "exec", name, "sh", "-c",
             "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
        self._ip(name, "link", "set", "lo", "up")

    @staticmethod
    def _ip(namespace, *arguments):
        return _run("ip", "-n", namespace, *arguments)

    @staticmethod
    def _offloads_off(namespace, interface):
        script = f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); import netns; " \
                 f"netns._turn_offloads_off({interface!r})"
        _run("ip", "netns", "exec", namespace, sys.executable, "-c", script)

    def namespace(self, rank):
        return f"{self.name}-r{rank}"

    def mpirun(self, command, options=(), cores=None):
        """The command that runs `command` as all ranks, each in its namespace; `options` are mpirun's. cores[r], where
        given, is the list of processors of rank r, as taskset takes it. To be started with environment()."""
        pin = ""
        if cores is not None:
            choices = " ".join(f"{rank}) cores={cores[rank]};;" for rank in range(self.ranks))
            pin = f'case $OMPI_COMM_WORLD_RANK in {choices} esac; taskset -pc $cores $$ > /dev/null; '
        enter = pin + f'exec ip netns exec "{self.name}-r$OMPI_COMM_WORLD_RANK" "$@"'
        return ["ip", "netns", "exec", self.host, "mpirun", "--oversubscribe", "--bind-to", "none", *map(str, options),
                "-n", str(self.ranks), "sh", "-c", enter, "sh", *map(str, command)]

    @staticmethod
    def environment():
        return {**os.environ, **_MPI_SETTINGS}

    def counters(self, rank):
        """What the kernel has counted on the rank's data interface: tx and rx, each bytes, packets and dropped, and TCP's
        segments sent again in the namespace."""
        stats = json.loads(self._ip(self.namespace(rank), "-s", "-j", "link", "show", "dev", "data0"))[0]["stats64"]
        counters = {f"{way}_{what}": stats[way][what] for way in ("tx", "rx") for what in ("bytes", "packets", "dropped")}
        lines = _run("ip", "netns", "exec", self.namespace(rank), "cat", "/proc/net/snmp").splitlines()
        names, values = [line.split()[1:] for line in lines if line.startswith("Tcp:")]
        counters["tcp_retransmitted"] = int(dict(zip(names, values))["RetransSegs"])
        return counters

    def shape(self, mbit_per_s, queue_ms=20):
        """Every rank sends at this rate at most from now on (token bucket on data0); None: as fast as it can."""
        for rank in range(self.ranks):
            subprocess.run(["tc", "-n", self.namespace(rank), "qdisc", "del", "dev", "data0", "root"],
                           capture_output=True, check=False)
            if mbit_per_s is None:
                continue
            # A bucket of a millisecond, but of several frames at least.
            burst = max(16384, int(mbit_per_s * 1e6 / 8 * 1e-3))
            _run("tc", "-n", self.namespace(rank), "qdisc", "add", "dev", "data0", "root", "tbf", "rate",
                 f"{mbit_per_s}mbit", "burst", burst, "latency", f"{queue_ms}ms")

    def cut(self, rank):
        """The rank's data link goes dead: frames are lost both ways, and neither end hears of it."""
        self._ip(self.host, "link", "set", f"data-{rank}", "nomaster")

    def mend(self, rank):
        self._ip(self.host, "link", "set", f"data-{rank}", "master", "data")

    def close(self):
        for name in self._namespaces:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
            for pid in pids.split():
                subprocess.run(["kill", "-9", pid], capture_output=True, check=False)
        for name in self._namespaces:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        self._namespaces = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
