"""The steps from requirement to package; each has one public function whose signature is the arrow."""
