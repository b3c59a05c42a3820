module homelab/images/wire

go 1.26.0
