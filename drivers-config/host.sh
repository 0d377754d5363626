#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What this host brings for Lockstep, and what it lacks, with the command that mends it. Changes nothing; needs no root.
set -u

usage() {
    cat <<'TEXT'
Usage: host.sh status

  status   cores, memory, huge pages, IOMMU and network devices of this host
TEXT
}

read_or() { # file, value where it cannot be read
    cat "$1" 2>/dev/null || printf '%s\n' "$2"
}

status_cores() {
    local isolated
    isolated=$(read_or /sys/devices/system/cpu/isolated "")
    printf 'cores       %s online, isolated: %s\n' "$(read_or /sys/devices/system/cpu/online '?')" "${isolated:-none}"
    if [ -z "$isolated" ]; then
        printf '            idle: poll wants cores of its own: boot with isolcpus=LIST nohz_full=LIST rcu_nocbs=LIST\n'
    fi
    printf 'clock       %s\n' "$(read_or /sys/devices/system/clocksource/clocksource0/current_clocksource '?')"
}

status_memory() {
    local dir size total free any=0
    awk '/^MemAvailable/ { printf "memory      %d MiB available\n", $2 / 1024 }' /proc/meminfo
    for dir in /sys/kernel/mm/hugepages/hugepages-*; do
        [ -d "$dir" ] || continue
        size=${dir##*hugepages-}
        total=$(read_or "$dir/nr_hugepages" 0)
        free=$(read_or "$dir/free_hugepages" 0)
        printf 'huge pages  %s: %s, %s free\n' "$size" "$total" "$free"
        [ "$total" -gt 0 ] && any=1
    done
    if [ "$any" = 0 ]; then
        printf '            none are set aside: sysctl -w vm.nr_hugepages=128 (256 MiB)\n'
    fi
}

status_iommu() {
    local groups
    groups=$(find /sys/kernel/iommu_groups -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)
    if [ "$groups" -gt 0 ]; then
        printf 'IOMMU       on, %s groups\n' "$groups"
    else
        printf 'IOMMU       off: vfio-pci wants one: boot with intel_iommu=on or amd_iommu=on\n'
    fi
}

# PCI devices of class 02 (network), with the driver that has each.
status_devices() {
    local dir class driver any=0
    for dir in /sys/bus/pci/devices/*; do
        class=$(read_or "$dir/class" 0x000000)
        [ "${class#0x02}" != "$class" ] || continue
        any=1
        driver=none
        [ -e "$dir/driver" ] && driver=$(basename "$(readlink -f "$dir/driver")")
        printf 'device      %s, vendor and device %s:%s, driver %s\n' "$(basename "$dir")" "$(read_or "$dir/vendor" '?')" \
            "$(read_or "$dir/device" '?')" "$driver"
        case $driver in
        vfio-pci | uio_pci_generic | igb_uio | mlx4_core | mlx5_core) ;;
        *) printf '            to give it to DPDK (the kernel loses it): modprobe vfio-pci && dpdk-devbind.py -b vfio-pci %s\n' \
                "$(basename "$dir")" ;;
        esac
    done
    if [ "$any" = 0 ]; then
        printf 'device      no PCI network device: a virtual one works too: net_af_packet0,iface=NAME\n'
    fi
    ip -br link 2>/dev/null | awk '$1 != "lo" { printf "interface   %s %s %s\n", $1, $2, $3 }'
}

case "${1:-}" in
status)
    status_cores
    status_memory
    status_iommu
    status_devices
    ;;
-h | --help)
    usage
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
