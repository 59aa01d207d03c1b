"""What the plug-ins beside this folder share; not plug-ins themselves."""
