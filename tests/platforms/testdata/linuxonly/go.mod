module linuxonly

go 1.26.0
