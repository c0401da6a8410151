module hestia/clients

go 1.19
