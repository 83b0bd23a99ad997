"""What a chunk costs on its way: four servers, one upstream, one client, measured in one run (`make bench`)."""
